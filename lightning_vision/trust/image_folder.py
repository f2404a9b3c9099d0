"""A folder of images that are not in the sample table: out-of-distribution images, or new images of the classes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lightning_vision.data.data_problems import DataProblems
from lightning_vision.data.inspection import Inspection, inspect_files
from lightning_vision.errors import DataError
from lightning_vision.images.image_files import EXTENSIONS, is_hidden, reason_to_skip
from lightning_vision.images.image_sources import FileImages
from lightning_vision.images.unpacked_archives import image_root
from lightning_vision.storage.cache_folder import cache_folder
from lightning_vision.terminal.messages import print_notice
from lightning_vision.terminal.wording import natural_key, plural

if TYPE_CHECKING:
    from lightning_vision.data.datamodule import StreamDataModule


@dataclass(frozen=True)
class ImageFolder:
    """The images in a folder and in all folders below, in natural order."""

    root: Path
    paths: list[str]
    """N paths relative to the root, with ``/``."""
    files: FileImages
    inspection: Inspection
    skipped: str
    """Files that were left out, counted by reason; empty if there are none."""

    def __len__(self) -> int:
        return len(self.paths)

    def folder_of(self, place: int) -> str:
        """The first sub-folder that an image lies in; empty if it lies in none."""
        first, slash, _ = self.paths[place].partition("/")
        return first if slash else ""

    def folders(self) -> list[str]:
        """The name of the folder itself and of all below that hold images."""
        below = {part for path in self.paths for part in path.split("/")[:-1]}
        return [self.root.resolve().name, *sorted(below, key=natural_key)]


def read_image_folder(root: str | Path, datamodule: StreamDataModule, option: str) -> ImageFolder:
    """List and inspect the images of a folder; unreadable ones are treated as in the data (``on_bad_image``).

    Hidden, empty and other files are left out and counted. The inspection is cached, as for the data, so that only new files
    are read the next time.

    Args:
        root: The folder, or an archive.
        datamodule: Has the options for unreadable images and for the cache.
        option: Its name, for messages.

    Raises:
        DataError: The folder does not exist or contains no image; or an image cannot be used, unless they are skipped.
    """
    given = Path(root).expanduser()
    found = image_root(given, datamodule.cache_dir, datamodule.cache_gb)
    root = found.path
    if found.remark:
        print_notice(f"{option}: {found.remark}")
    if not root.is_dir():
        kind = "is a file" if root.exists() else "does not exist"
        raise DataError(f"{option}: expected a folder of images, or a zip or tar archive; {root} {kind}.")
    findings = DataProblems()
    listed = _walk(root, findings)
    files = FileImages([root / path for path in listed])
    kept = cache_folder(given, datamodule.cache_dir) / "inspection-ImageFolder.npz"
    inspection = inspect_files(files, max(1, datamodule.num_workers), kept, datamodule.inspect)
    for path, reason in zip(listed, inspection.reason, strict=True):
        if reason:
            findings.bad(path, str(reason))
    findings.check(root, datamodule.on_bad_image)
    good = np.flatnonzero(inspection.reason == "")
    if not len(good):
        skipped = f" Left out: {findings.counted()}." if findings.skipped else ""
        raise DataError(f"{option}: no image in {root}.{skipped} Read are {', '.join(sorted(EXTENSIONS))}.")
    paths = [listed[place] for place in good]
    return ImageFolder(
        root, paths, FileImages([root / path for path in paths]), inspection.take(good), findings.counted()
    )


def joined(folders: list[ImageFolder]) -> ImageFolder:
    """Several folders as one; paths are absolute if there is more than one folder."""
    if len(folders) == 1:
        return folders[0]
    absolute = [folder.root / path for folder in folders for path in folder.paths]
    return ImageFolder(
        folders[0].root,
        [path.as_posix() for path in absolute],
        FileImages(absolute),
        Inspection.joined([folder.inspection for folder in folders]),
        ", ".join(folder.skipped for folder in folders if folder.skipped),
    )


def _walk(root: Path, findings: DataProblems) -> list[str]:
    """The images' paths from the root, in natural order."""
    found = []
    visited = {os.path.realpath(root)}
    for folder, below, names in os.walk(root, onerror=_refuse, followlinks=True):
        below[:] = [name for name in below if not is_hidden(name) and _is_new(Path(folder, name), visited)]
        for name in names:
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            if reason := reason_to_skip(path):
                findings.skip(relative, reason)
            else:
                found.append(relative)
    return sorted(found, key=natural_key)


def _is_new(folder: Path, visited: set[str]) -> bool:
    """Whether a folder was not visited yet: a link may lead back to one above."""
    place = os.path.realpath(folder)
    new = place not in visited
    visited.add(place)
    return new


def _refuse(error: OSError) -> None:
    raise DataError(
        f"{error.filename} cannot be read: {error.strerror}. Make it readable, or remove the folder."
    ) from error


def said(folder: ImageFolder) -> str:
    """The number of images, and what was left out."""
    return f"{plural(len(folder), 'image')}{f', left out: {folder.skipped}' if folder.skipped else ''}"
