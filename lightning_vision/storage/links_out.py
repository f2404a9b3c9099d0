"""Symbolic links by which a run directory would have other folders read or written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from lightning_vision.errors import ConfigError

LOGS = "wandb"
"""A folder whose links W&B makes itself; nothing is read or written through them."""


def leads_out(path: Path, home: Path) -> bool:
    """Whether a path is a symbolic link whose target lies outside of a folder."""
    return path.is_symlink() and not path.resolve().is_relative_to(home.resolve())


def links_out(folder: Path, home: Path | None = None) -> Iterator[Path]:
    """The symbolic links at or below a folder that lead out of it, or out of ``home``, which holds it."""
    home = folder if home is None else home
    if folder != home and leads_out(folder, home):
        yield folder
        return
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if leads_out(Path(place) / name, home):
                yield Path(place) / name
        folders[:] = [name for name in folders if name != LOGS]


def refuse_links_out(folder: Path, home: Path | None = None) -> None:
    """Refuse a folder that leads elsewhere.

    Raises:
        ConfigError: It does; the link and its target are named.
    """
    for link in links_out(folder, home):
        raise ConfigError(
            f"{link} is a symbolic link to {link.resolve()}, outside of {folder if home is None else home}: expected a run "
            "directory that holds its own files. Put the file itself there, or, if you made the link, allow it by --trust_run true."
        )
