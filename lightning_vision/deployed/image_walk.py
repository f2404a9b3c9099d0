"""The images in a folder and in all below it, one after the other."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lightning_vision.errors import DataError
from lightning_vision.images.image_files import count_reasons, is_hidden, reason_to_skip
from lightning_vision.images.unpacked_archives import image_root
from lightning_vision.terminal.wording import printable


class ImageWalk:
    """Image files in the order of their names: the paths relative to a folder, and the files.

    Only the names in one folder of each level are held at a time, and no image.

    Args:
        root: The folder, or an archive, which is unpacked.

    Raises:
        DataError: It is none.
    """

    def __init__(self, root: Path) -> None:
        found = image_root(root)
        if not found.path.is_dir():
            kind = "is a file" if root.exists() else "does not exist"
            way = " Put images into a folder, or use predict --ckpt_path RUN IMAGE." if root.exists() else ""
            raise DataError(f"Expected a folder of images, or a zip or tar archive; {printable(root)} {kind}.{way}")
        self.root, self.remark, self.shown = found.path, found.remark, printable(found.path)
        self.skipped: Counter[str] = Counter()
        """What was left out so far, by reason."""

    def __iter__(self) -> Iterator[tuple[str, Path]]:
        for path in self._below("", (os.path.realpath(self.root),)):
            yield path, self.root / path

    def file(self, path: str) -> Path:
        """The file of a path."""
        return self.root / path

    def counted(self) -> str:
        """What was left out so far, in words."""
        return count_reasons(self.skipped)

    def _below(self, prefix: str, above: tuple[str, ...]) -> Iterator[str]:
        try:
            with os.scandir(self.root / prefix) as entries:
                kinds = sorted((entry.name, _is_folder(entry)) for entry in entries)
        except OSError:
            self.skipped["folders that cannot be read"] += 1
            return
        for name, is_folder in kinds:
            path = f"{prefix}{name}"
            if not is_folder:
                reason = reason_to_skip(self.root / path)
                if reason is None:
                    yield path
                else:
                    self.skipped[reason] += 1
            elif is_hidden(name):
                self.skipped["hidden"] += 1
            elif (place := os.path.realpath(self.root / path)) in above:  # a link may lead back to a folder above
                self.skipped["links to a folder above"] += 1
            else:
                yield from self._below(f"{path}/", (*above, place))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """A link that leads back to itself is none."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()  # noqa: PTH112 - no error for such a link
