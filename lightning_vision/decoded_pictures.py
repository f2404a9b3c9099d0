"""Decoded pictures in a file that all workers and processes share: what one has decoded, no other decodes again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F  # noqa: N812 - torchvision's own custom

from lightning_vision.sources import Annotations, InMemory, PictureSource


class DecodedPictures:
    """Pictures reduced to the resolution of training, uint8, memory-mapped, filled as they are first asked for.

    A picture whose shorter side is longer than ``side`` is scaled down to it; none is enlarged. Whether a picture comes
    from the file or is decoded anew makes no difference to its pixels, so results depend neither on what the file holds
    already nor on how much fits. A row is marked as there only once its pixels are: a process that is killed leaves
    nothing half-written to be read, and two that decode the same picture write the same bytes.

    Args:
        source: Opens the picture of a row.
        sizes: (N, 2) height and width of each.
        digests: (N, 16) hash of each, by which a changed picture is told from the one that was kept.
        side: Of the reduced pictures, in pixels.
        folder: Where the file lies.
        most_bytes: Rows beyond are decoded each time.
    """

    def __init__(
        self,
        source: PictureSource,
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
        ends = np.cumsum(3 * self.sizes.prod(axis=1))
        self.starts = ends - 3 * self.sizes.prod(axis=1)
        self.kept = int(np.searchsorted(ends, most_bytes, side="right"))
        """Rows 0 to ``kept`` - 1 are in the file."""
        self.left_out = len(sizes) - self.kept
        identity = hashlib.sha256(digests[: self.kept].tobytes() + self.sizes[: self.kept].tobytes()).hexdigest()[:16]
        self.path = folder / f"decoded-{side}-{identity}.bin"
        self.pixel_bytes = int(ends[self.kept - 1]) if self.kept else 0
        self._file: npt.NDArray[np.uint8] | None = None

    def __getstate__(self) -> dict[str, object]:
        """Without the mapping: each process makes its own of the same file."""
        return {**self.__dict__, "_file": None}

    def open(self, row: int) -> InMemory:
        """The reduced picture of a row."""
        if row >= self.kept:
            return InMemory(self._decode(row))
        file = self._map()
        height, width = (int(length) for length in self.sizes[row])
        start = int(self.starts[row])
        place = file[start : start + 3 * height * width].reshape(height, width, 3)
        if not file[self.pixel_bytes + row]:
            place[:] = self._decode(row).permute(1, 2, 0).numpy()
            file[self.pixel_bytes + row] = 1
        # A copy: transforms may work in place, and the file must stay as it is.
        return InMemory(torch.from_numpy(np.array(place)).permute(2, 0, 1))

    def annotations(self, row: int) -> Annotations:
        """None are kept."""
        return Annotations()

    def filled(self) -> int:
        """How many rows the file holds by now."""
        return int(self._map()[self.pixel_bytes :].sum()) if self.kept else 0

    def _decode(self, row: int) -> Tensor:
        size = (int(self.sizes[row, 0]), int(self.sizes[row, 1]))
        pixels = self.source.open(row).pixels(None, size)
        if tuple(pixels.shape[-2:]) == size:
            return pixels
        resized: Tensor = F.resize(pixels, list(size), antialias=True)
        return resized

    def _map(self) -> npt.NDArray[np.uint8]:
        """The file as an array: the pixels of all rows, then a byte a row that says whether they are there."""
        if self._file is None:
            total = self.pixel_bytes + self.kept
            with self.path.open("ab") as file:
                file.truncate(total)  # a hole costs no space on the disk; a file that is there keeps what it holds
            self._file = np.memmap(self.path, dtype=np.uint8, mode="r+", shape=(total,))
        return self._file
