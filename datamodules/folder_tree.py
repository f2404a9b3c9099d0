"""What lies below a folder: sub-folders, image files, and files that are skipped with a reason.

A folder is read when it is first asked for, and once. Whether its names are classes, splits or the files of a table is
decided elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from datamodules.dataset_folder import is_folder
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError
from lightning_vision.images.file_kinds import is_image, kind_of_file
from lightning_vision.images.image_files import EXTENSIONS, is_hidden, reason_to_skip


class _Content(NamedTuple):
    """What lies directly in a folder, in order of the names."""

    folders: list[Folder]
    images: list[str]
    skipped: list[tuple[str, str]]


class Folder:
    """A folder of the tree.

    Args:
        place: Where it lies.
        path: Its path from the root with ``/``; empty for the root.
        above: The real paths of the folders from the root to this one: a link to one of them is not followed.
    """

    def __init__(self, place: str, path: str = "", above: tuple[str, ...] = ()) -> None:
        self.place, self.path = place, path
        self._above = above or (os.path.realpath(place),)

    def __repr__(self) -> str:
        return f"Folder({self.path!r})"

    @property
    def name(self) -> str:
        """The folder's name; that of the root if ``path`` is empty."""
        return Path(self.path).name or Path(self.place).resolve().name

    @property
    def folders(self) -> list[Folder]:
        """The folders in it, without hidden ones and links to a folder above, in order of their names."""
        return self._content.folders

    @property
    def images(self) -> list[str]:
        """The names of the files in it that may be images, in order."""
        return self._content.images

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """Name and reason of the other files in it."""
        return self._content.skipped

    def path_of(self, name: str) -> str:
        """The path from the root of something that lies in it."""
        return f"{self.path}/{name}" if self.path else name

    def folder(self, name: str) -> Folder | None:
        """The folder of that name in it; None if there is none."""
        return next((folder for folder in self.folders if folder.name == name), None)

    def all_folders(self) -> Iterator[Folder]:
        """This folder and all below it, each before its own."""
        yield self
        for folder in self.folders:
            yield from folder.all_folders()

    def image_paths(self) -> Iterator[str]:
        """The paths from the root of all images in it and below it."""
        for folder in self.all_folders():
            for name in folder.images:
                yield folder.path_of(name)

    def has_images(self) -> bool:
        """Whether there is an image in it or below it."""
        return next(self.image_paths(), None) is not None

    def report_skipped(self, problems: DataProblems) -> None:
        """Add the skipped files in it and below it, and folders without images that are named like an image."""
        for folder in self.all_folders():
            for name, reason in folder.skipped:
                problems.skip(folder.path_of(name), reason)
            if folder is not self and Path(folder.name).suffix.lower() in EXTENSIONS and not folder.has_images():
                problems.skip(folder.path, "folders named like an image")

    @cached_property
    def _content(self) -> _Content:
        found = _Content([], [], [])
        with os.scandir(self.place) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if is_folder(entry):
                    real = os.path.realpath(entry) if entry.is_symlink() else f"{self._above[-1]}/{entry.name}"
                    if real in self._above:
                        found.skipped.append((entry.name, "links to a folder above"))
                    elif not is_hidden(entry.name):
                        found.folders.append(Folder(entry.path, self.path_of(entry.name), (*self._above, real)))
                elif reason := reason_to_skip(entry):
                    found.skipped.append((entry.name, reason))
                else:
                    found.images.append(entry.name)
        return found


def files_below(folder: Path, suffix: str, once: bool = False) -> Iterator[Path]:
    """What is in a folder and below it, is no image and has a name that ends so; links are followed.

    A folder of such a name is among them, so that whoever reads it says what it is.

    Args:
        folder: The folder.
        suffix: Of the names, in small letters.
        once: Of folders that are one folder, by links, only the first counts.
    """
    seen: set[str] = set()
    for below in Folder(str(folder)).all_folders():
        if once:
            real = os.path.realpath(below.place)
            if real in seen:
                continue
            seen.add(real)
        for name in [*(name for name, _ in below.skipped), *(inner.name for inner in below.folders)]:
            if name.lower().endswith(suffix) and not name.startswith("."):
                yield Path(below.place, name)


def read_tree(root: Path, layout: str) -> Folder:
    """The folder that ``data.root`` names.

    Args:
        root: The folder.
        layout: What is expected, for the error.

    Raises:
        DataError: It is not there, or no folder.
    """
    if root.is_dir():
        return Folder(str(root))
    what = f"the folder {root} does not exist"
    if root.exists():
        kind = kind_of_file(root)
        what = f"{root} is a file{f', {kind}' if kind and not is_image(kind) else ''}, and a folder is needed"
    raise DataError(f"data.root: {what}. {layout}. Use the folder above the class folders.")
