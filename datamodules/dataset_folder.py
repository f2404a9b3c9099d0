"""The content of dataset folders, and error messages for unexpected layouts."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import listed, natural_key, plural

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MOST_LOOKED_INTO = 100
"""Sub-folders that are looked into for a layout that lies deeper."""


def is_hidden(name: str) -> bool:
    """Whether a file system or an archive put it there, not a person."""
    return name.startswith(".") or name.lower() in ("__macosx", "@eadir", "thumbs.db", "desktop.ini")


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder; nothing if it is not there or is none."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return []
        raise


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder or a link to one; a link that leads back to itself is none."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def sub_folders(folder: Path) -> list[str]:
    """Names of the folders in it, in natural order, without hidden ones; none if it is not there."""
    names = (entry.name for entry in entries_of(folder) if is_folder(entry) and not is_hidden(entry.name))
    return sorted(names, key=natural_key)


def images_in(folder: Path, prefix: str, findings: DataProblems) -> list[str]:
    """Names of the image files in it, in natural order; other files are skipped.

    Args:
        folder: The folder.
        prefix: Its path from the data's root, for ``findings``.
        findings: Where the skipped files are counted.
    """
    names = []
    for entry in entries_of(folder):
        if entry.name.lower().endswith(IMAGE_EXTENSIONS) and not is_hidden(entry.name):
            names.append(entry.name)
        elif not is_folder(entry):
            findings.skip(f"{prefix}/{entry.name}", "hidden" if is_hidden(entry.name) else "of another kind")
    return sorted(names, key=natural_key)


def remark_on_unnamed(names: set[str], prefix: str, table: Path, findings: DataProblems) -> None:
    """Say that a folder holds images that its table does not name, if it does."""
    if names:
        ordered: list[str] = sorted(names, key=natural_key)
        findings.remark(
            f"{plural(len(names), 'image')} of {prefix}/ not used, because {table.name} has no line for "
            f"{listed(ordered, 3)}."
        )


def contents(folder: Path) -> str:
    """What a folder holds, in words."""
    if not folder.is_dir():
        return "is a file; if it is an archive, unpack it" if folder.exists() else "does not exist"
    folders = sub_folders(folder)
    files = [entry.name for entry in entries_of(folder) if not is_folder(entry) and not is_hidden(entry.name)]
    files.sort(key=natural_key)
    parts = [f"the {'folder' if len(names) == 1 else 'folders'} {listed(names, 5)}" for names in [folders] if names]
    parts += [f"the {'file' if len(names) == 1 else 'files'} {listed(names, 3)}" for names in [files] if names]
    return f"contains {' and '.join(parts)}" if parts else "is empty"


def missing_layout(
    root: Path, name: str, layouts: Sequence[str], source: str, is_root: Callable[[Path], bool]
) -> DataError:
    """The error for a root in which no layout was recognised.

    Args:
        root: What was given.
        name: Name of the dataset.
        layouts: The trees that are read, one a line.
        source: Where a person can get the data.
        is_root: Whether a folder would have been the right one.
    """
    hint = ""
    if root.is_dir():
        above = [place for place in list(root.resolve().parents)[:2] if _would_be(is_root, place)]
        inside = [root / folder for folder in sub_folders(root)[:MOST_LOOKED_INTO]]
        below = [place for place in inside if _would_be(is_root, place)]
        if below:
            hint = f" This is one level too high; use {below[0]}."
        elif above:
            hint = f" This is too deep; use {above[0]}."
    trees = "".join(f"\n  {layout}" for layout in layouts)
    return DataError(
        f"data.root: {name} was not found in {root}, which {contents(root)}.{hint}\nExpected one of{trees}\nDownload "
        f"it from {source}; the program cannot do this."
    )


def _would_be(is_root: Callable[[Path], bool], place: Path) -> bool:
    """The answer for a folder that nobody asked for: that it cannot be read is no error."""
    try:
        return is_root(place)
    except (DataError, OSError):
        return False
