"""Decoded images in a file that all workers and processes share."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import weakref
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F  # noqa: N812 - torchvision's own custom

from lightning_vision.images.image_sources import Annotations, ImageSource, InMemory
from lightning_vision.storage.cache_folder import locked
from lightning_vision.terminal.messages import print_notice

VERSION = 2
"""Version of the file's layout and of the reduction."""
CHECKSUM_BYTES = 4


class DecodedImages:
    """Images reduced to the training resolution, uint8, in a file that is filled on first access.

    An image whose shorter side is longer than ``side`` is reduced to it; none is enlarged. The pixels of an image are
    the same from the file and from decoding, so results do not depend on the content or size of the cache. A row is
    valid if its checksum matches: a killed process leaves no incomplete rows that would be read, and two processes that
    decode the same image write the same bytes.

    The file is read and written by system calls and not mapped, because on a full disk a call fails, but a mapping ends
    the process. Images that cannot be stored are decoded each time, with one message.

    Args:
        source: Opens the image of a row.
        sizes: (N, 2) height and width of each.
        digests: (N, 16) hash of each image, which identifies changed images.
        side: Of the reduced images, in pixels.
        folder: Where the file lies.
        most_bytes: What all such files in the folder may take. Those that were not used for longest make room; rows that
            do not fit are decoded each time.
    """

    def __init__(
        self,
        source: ImageSource,
        sizes: npt.NDArray[np.int32],
        digests: npt.NDArray[np.uint8],
        side: int,
        folder: Path,
        most_bytes: int,
    ) -> None:
        self.source, self.side = source, side
        sizes = sizes.astype(np.int64)
        short = sizes.min(axis=1)
        # As torchvision's Resize: the longer side is cut to whole pixels.
        scaled = np.where(sizes == short[:, None], side, side * sizes // np.maximum(short, 1)[:, None])
        self.sizes = np.where((short > side)[:, None], scaled, sizes)
        ends = CHECKSUM_BYTES * len(sizes) + np.cumsum(3 * self.sizes.prod(axis=1))  # the checksums come first
        self.starts = ends - 3 * self.sizes.prod(axis=1)
        told = json.dumps({"version": VERSION, **self.describe()}, sort_keys=True).encode()
        identity = hashlib.sha256(told + digests.tobytes() + self.sizes.tobytes()).hexdigest()[:16]
        self.path = folder / f"decoded-{side}-{identity}.bin"
        self._file: int | None = None
        self._turn: int | None
        self._there = np.zeros(len(sizes), dtype=np.bool_)  # the rows whose checksum was found to fit
        self._given_up = False  # in this process; a worker of a later epoch tries again
        # Whoever gets the byte out of this pipe says what is wrong: one of all workers that this process forks.
        self._turn, writing = os.pipe()
        os.write(writing, b"1")
        os.close(writing)
        weakref.finalize(self, os.close, self._turn)
        try:
            room = self._take_room(most_bytes, int(ends[-1]))
        except OSError as error:
            self._give_up(error)
            room = 0
        self.kept = int(np.searchsorted(ends, room, side="right"))
        """Rows 0 to ``kept`` - 1 have a place in the file."""
        self.left_out = len(sizes) - self.kept

    def __getstate__(self) -> dict[str, object]:
        """The state without descriptors, because another process opens the file itself."""
        return {**self.__dict__, "_file": None, "_turn": None}

    def describe(self) -> dict[str, Any]:
        """The description of the source, and the reduction and who does it."""
        return {**self.source.describe(), "decoded_at": self.side, "reduced_by": torch_version()}

    def open(self, row: int) -> InMemory:
        """The reduced image of a row."""
        if row >= self.kept:
            return InMemory(self._decode(row))
        if (known := self._read(row)) is not None:
            return InMemory(known)
        pixels = self._decode(row)
        if not self._given_up:
            try:
                self._write(row, pixels)
            except OSError as error:
                self._give_up(error)
        return InMemory(pixels)

    def annotations(self, row: int) -> Annotations:
        """None, because they are not stored."""
        return Annotations()

    def filled(self) -> int:
        """Number of rows in the file."""
        return sum(self._read(row) is not None for row in range(self.kept))

    def _decode(self, row: int) -> Tensor:
        size = (int(self.sizes[row, 0]), int(self.sizes[row, 1]))
        pixels = self.source.open(row).pixels(None, size)
        if tuple(pixels.shape[-2:]) == size:
            return pixels
        resized: Tensor = F.resize(pixels, list(size), antialias=True)
        return resized

    # ---- the file --------------------------------------------------------------------------------------------------

    def _read(self, row: int) -> Tensor | None:
        """The pixels of a row; None if they are not stored or cannot be read."""
        height, width = (int(length) for length in self.sizes[row])
        try:
            file = self._opened()
            checksum = b"" if self._there[row] else os.pread(file, CHECKSUM_BYTES, CHECKSUM_BYTES * row)
            if not self._there[row] and not any(checksum):
                return None
            # Into memory of its own: transforms may work in place.
            pixels = np.empty((height, width, 3), dtype=np.uint8)
            if os.preadv(file, [pixels.data], int(self.starts[row])) < pixels.nbytes:
                return None
        except OSError:  # it is decoded instead
            return None
        if not self._there[row]:
            if checksum != _checksum(pixels):
                return None
            self._there[row] = True
        return torch.from_numpy(pixels).permute(2, 0, 1)

    def _write(self, row: int, pixels: Tensor) -> None:
        """Store the pixels (3, h, w) of a row, and then their checksum.

        Raises:
            OSError: The disk is full, or cannot be written to.
        """
        data = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
        file = self._opened()
        for content, start in ((data.tobytes(), int(self.starts[row])), (_checksum(data), CHECKSUM_BYTES * row)):
            while content:  # a disk that is nearly full takes a part
                written = os.pwrite(file, content, start)
                content, start = content[written:], start + written

    def _give_up(self, error: OSError) -> None:
        """Stop writing, and print a message unless another worker has."""
        first = not self._given_up and (self._turn is None or bool(os.read(self._turn, 1)))
        self._given_up = True
        if first:
            print_notice(
                f"Cannot store decoded images in {self.path.parent}: {error.strerror or error}. Images that are not "
                "stored yet are decoded each time. Free some space, or set data.cache_dir to another folder."
            )

    def _opened(self) -> int:
        """The file's descriptor, with a lock that marks the file as in use."""
        if self._file is None:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            weakref.finalize(self, os.close, self._file)  # which lets others clear it up
            fcntl.flock(self._file, fcntl.LOCK_SH)
        return self._file

    def _has_to_itself(self) -> bool:
        """Whether no other process has the file open."""
        file = self._opened()
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            fcntl.flock(file, fcntl.LOCK_SH)
        return True

    def _take_room(self, most_bytes: int, wanted: int) -> int:
        """Maximum size of this file in bytes, after deleting the least recently used files.

        Raises:
            OSError: The file cannot be created.
        """
        with locked(self.path.parent, "decoded"):  # nobody opens a file while another is about to remove it
            others = [file for file in self.path.parent.glob("decoded-*.bin") if file != self.path]
            sizes = {file: file.stat() for file in others}
            taken = {file: stat.st_blocks * 512 for file, stat in sizes.items()}
            for file in sorted(others, key=lambda file: sizes[file].st_mtime_ns):
                if sum(taken.values()) + wanted <= most_bytes:
                    break
                taken[file] = 0 if _removed_unless_in_use(file) else sizes[file].st_size
            room = min(wanted, most_bytes - sum(taken.values()))
            if room > 0:
                own = self._opened()
                size = os.fstat(own).st_size
                if size < room or (size > room and self._has_to_itself()):
                    os.ftruncate(own, room)  # a hole costs no space, and tells others what it may come to
                os.utime(own)
            return room


def torch_version() -> str:
    """The version of the library that reduces images."""
    return str(torch.__version__)


def _removed_unless_in_use(file: Path) -> bool:
    """Remove the file unless it is in use or belongs to another user; whether it was removed."""
    try:
        with file.open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink()
    except OSError:
        return False
    return True


def _checksum(pixels: npt.NDArray[np.uint8]) -> bytes:
    """The checksum of pixels; never zero, the content of rows that were not written."""
    return (zlib.crc32(pixels.data) or 1).to_bytes(CHECKSUM_BYTES, "little")
