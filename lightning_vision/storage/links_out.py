"""Symbolic links out of a run directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from lightning_vision.errors import ConfigError

LOGS = "wandb"
"""A folder whose links W&B makes itself; nothing is read or written through them."""


def leads_out(path: Path, home: Path) -> bool:
    """Whether a path is a symbolic link to a target outside of a folder."""
    return path.is_symlink() and not path.resolve().is_relative_to(home.resolve())


def links_out(folder: Path, home: Path | None = None) -> Iterator[Path]:
    """The symbolic links in a folder to targets outside of it, or outside of its parent ``home``."""
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
    """Refuse a folder with links to other folders.

    Raises:
        ConfigError: There is such a link; the message names it and its target.
    """
    for link in links_out(folder, home):
        raise ConfigError(
            f"{link} is a symbolic link to {link.resolve()}, outside of {folder if home is None else home}: expected a "
            "run directory without links to other folders. Replace the link by the file, or, if you created the link, "
            "allow it with --trust_run true."
        )
