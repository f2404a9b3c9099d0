"""Reads the entry points of the installed packages once."""

import functools
import sys
from importlib import metadata
from typing import Any


def read_once() -> None:
    """Keep them for each path on which packages are looked for; call it before Lightning is imported.

    Each Trainer reads them all, and a run has three for each experience: a tenth of a tiny run.
    """
    read = metadata.entry_points

    @functools.cache
    def kept(path: tuple[str, ...], **of: Any) -> Any:
        return read(**of)

    def entry_points(**of: Any) -> Any:
        return kept(tuple(sys.path), **of)

    setattr(metadata, "entry_points", entry_points)  # noqa: B010 - a module's own function, which mypy would not let go
