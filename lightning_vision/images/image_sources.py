"""Sources of images: files, optionally cropped to a box, or memory."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import Tensor

from lightning_vision.array_types import Rows
from lightning_vision.images.decoding import Region, decode_grey, decode_region, on_grid, read_header
from lightning_vision.images.pillow_decoding import DECODING_VERSION

DECODERS = ("pillow", "simplejpeg", "pillow-heif")
"""Packages that decode image files; the last one is optional."""
Boxes = npt.NDArray[np.float32]
"""(N, 4): x1, y1, x2, y2 in pixels from the upper left corner; NaN in rows without a box."""


class SourceImage(Protocol):
    """An image that can be decoded in part."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, upright."""

    def on_grid(self, region: Region, wanted: tuple[int, int]) -> Region:
        """A region that is read exactly at the reduced scale that ``wanted`` allows, a few pixels beside at most."""

    def pixels(self, region: Region | None = None, wanted: tuple[int, int] | None = None) -> Tensor:
        """uint8 RGB (3, h, w) of a region (None: of all).

        Where ``wanted`` names a height and width that the region will be scaled to, the result may have fewer pixels
        than the region, but never fewer than that.
        """


class Annotations(NamedTuple):
    """Annotations of an image, in its pixels."""

    box: npt.NDArray[np.float32] | None = None
    """(4,) x1, y1, x2, y2."""
    saliency: Tensor | None = None
    """uint8 (1, h, w), of the image's size."""


class ImageSource(Protocol):
    """Opens the image of a row."""

    def describe(self) -> dict[str, Any]:
        """All that the pixels of every row depend on beside the row's digest (see ``Inspection``), as plain values.

        It is part of the keys of caches: everything that changes pixels and is not in the digest must be here.
        """

    def annotations(self, row: int) -> Annotations:
        """What is known of where to look in it."""

    def open(self, row: int) -> SourceImage:
        """The image; its pixels need not be read yet.

        Raises:
            DataError: It cannot be read.
        """


class InMemory(NamedTuple):
    """An image in memory: uint8 (3, h, w)."""

    tensor: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return int(self.tensor.shape[-2]), int(self.tensor.shape[-1])

    def on_grid(self, region: Region, wanted: tuple[int, int]) -> Region:
        """The region itself."""
        return region

    def pixels(self, region: Region | None = None, wanted: tuple[int, int] | None = None) -> Tensor:
        """The pixels of the region, at their full number."""
        if region is None:
            return self.tensor
        return self.tensor[..., region.top : region.top + region.height, region.left : region.left + region.width]


class Opening(NamedTuple):
    """A file and all that is done to its image before any transform: what ``FileImage`` is made with, and nothing else is.

    The digest of a row, and therefore the key of every cache, contains the file's content and ``treatment``. An option
    that changes pixels must be a field here.
    """

    path: Path
    box: tuple[float, float, float, float] | None = None
    """What is cut out: x1, y1, x2, y2."""
    context: float = 0.0
    """Share of the box's sides by which it is widened; 0 where there is no box."""

    @property
    def treatment(self) -> bytes:
        """All but the path; empty where the image is taken as it is."""
        rest = self._asdict()
        del rest["path"]
        return repr(rest).encode() if rest != self._field_defaults else b""


class FileImage:
    """An image file, optionally cropped to a box.

    Args:
        path: The file.
        box: (4,) what is cut out, in pixels of the upright image, clamped to it; None for all.
        context: The box is made wider and higher by this share of its sides, half of it on each side.

    Raises:
        DataError: The file cannot be read.
    """

    def __init__(self, path: Path, box: npt.ArrayLike | None = None, context: float = 0.0) -> None:
        self.header = read_header(path)
        self.frame: Region | None = None if box is None else box_region(box, self.header.size, context)
        self.size = self.header.size if self.frame is None else (self.frame.height, self.frame.width)

    def on_grid(self, region: Region, wanted: tuple[int, int]) -> Region:
        """See ``decoding.on_grid``; within the box, if there is one."""
        moved = on_grid(self.header, self._in_file(region), wanted)
        if self.frame is None:
            return moved
        top, left = max(moved.top, self.frame.top), max(moved.left, self.frame.left)
        bottom = min(moved.top + moved.height, self.frame.top + self.frame.height)
        right = min(moved.left + moved.width, self.frame.left + self.frame.width)
        return Region(top - self.frame.top, left - self.frame.left, bottom - top, right - left)

    def pixels(self, region: Region | None = None, wanted: tuple[int, int] | None = None) -> Tensor:
        """The pixels of the region, decoded at a reduced scale where ``wanted`` allows it."""
        return decode_region(self.header, self._in_file(region or Region(0, 0, *self.size)), wanted)

    def _in_file(self, region: Region) -> Region:
        if self.frame is None:
            return region
        return region._replace(top=self.frame.top + region.top, left=self.frame.left + region.left)


class FileImages:
    """Image files by row. Paths are one block of bytes, so that worker processes share it: no object is counted.

    Args:
        paths: Of the N files.
        boxes: (N, 4), NaN in rows without one; None if there are none.
        saliency: N files of saliency maps, None in rows without one; None if there are none.
        cut: Images are what lies in their boxes.
        context: See ``FileImage``.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        boxes: Boxes | None = None,
        saliency: Sequence[Path | None] | None = None,
        cut: bool = False,
        context: float = 0.0,
    ) -> None:
        self._paths = _Texts([os.fspath(path) for path in paths])
        self._saliency = None if saliency is None else _Texts(["" if path is None else str(path) for path in saliency])
        self._boxes, self._cut, self._context = boxes, cut, context

    def __len__(self) -> int:
        return len(self._paths)

    def path(self, row: int) -> Path:
        """The file of a row."""
        return Path(self._paths[row])

    def paths(self) -> list[str]:
        """The files of all rows."""
        return [text.decode("utf-8", "surrogateescape") for text in self._paths.encoded()]

    def identities(self) -> npt.NDArray[np.uint8]:
        """(N, 16) hashes of each row's path, of its box and of all that is done to its image: keys of facts about rows."""
        texts = self._paths.encoded()
        if self._boxes is not None:
            boxes, size = self._boxes.tobytes(), self._boxes[:1].nbytes
            texts = [text + b"\0" + boxes[size * row : size * (row + 1)] for row, text in enumerate(texts)]
        if self._cut:
            texts = [text + b"\0" + self.opening(row).treatment for row, text in enumerate(texts)]
        if self._saliency is not None:
            maps = [self.saliency(row) for row in range(len(texts))]
            texts = [
                text if path is None else text + (b"\0map" if path.is_file() else b"\0no map")
                for text, path in zip(texts, maps, strict=True)
            ]
        hashes = [hashlib.blake2b(text, digest_size=16).digest() for text in texts]
        return np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(-1, 16)

    def box(self, row: int) -> npt.NDArray[np.float32] | None:
        """The box of a row's image, x1, y1, x2, y2; None if it has none."""
        if self._boxes is None or np.isnan(self._boxes[row][0]):
            return None
        box: npt.NDArray[np.float32] = self._boxes[row]
        return box

    def opening(self, row: int) -> Opening:
        """The file of a row, and what is cut out of its image."""
        box = self.box(row) if self._cut else None
        if box is None:
            return Opening(self.path(row))
        x1, y1, x2, y2 = (float(side) for side in box)
        return Opening(self.path(row), (x1, y1, x2, y2), float(self._context))

    def describe(self) -> dict[str, Any]:
        """Who decodes; all else is in the digests (see ``Opening``)."""
        return {"decoders": decoder_versions()}

    def saliency(self, row: int) -> Path | None:
        """The map of a row's image; None if it has none."""
        return Path(self._saliency[row]) if self._saliency is not None and self._saliency[row] else None

    def open(self, row: int) -> FileImage:
        """The image of a row; its header is read."""
        return FileImage(*self.opening(row))

    def annotations(self, row: int) -> Annotations:
        """What is known of where to look in the image of a row."""
        frame = self.open(row).frame
        top, left = (0, 0) if frame is None else (frame.top, frame.left)
        box, path = self.box(row), self.saliency(row)
        if box is not None:
            box = box - np.array([left, top, left, top], dtype=np.float32)
        saliency = None
        if path is not None:
            saliency = decode_grey(path)
            if frame is not None:
                saliency = saliency[:, frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
        return Annotations(box, saliency)


class _Texts:
    """Texts as one block of bytes."""

    def __init__(self, texts: Sequence[str]) -> None:
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        self._blob = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self._ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def encoded(self) -> list[bytes]:
        """All of them in UTF-8."""
        blob, ends = self._blob.tobytes(), self._ends.tolist()
        return [blob[start:end] for start, end in zip([0, *ends][:-1], ends, strict=True)]

    def __getitem__(self, row: int) -> str:
        start = int(self._ends[row - 1]) if row else 0
        return self._blob[start : self._ends[row]].tobytes().decode("utf-8", "surrogateescape")


class Loaded:
    """Images that a function gives by row.

    Args:
        load: uint8 (3, h, w) of a row.
        stored: What identifies the image of a row: the content of its file, and what is done to it; None if there are no files.
    """

    def __init__(self, load: Callable[[int], Tensor], stored: Callable[[int], bytes] | None = None) -> None:
        self.load, self.stored = load, stored

    def describe(self) -> dict[str, Any]:
        """Who decodes files, and that they are decoded whole; all else is in digests, of the files or of the pixels themselves.

        The same file in a folder has the same digest and may be decoded at a reduced scale, which gives other pixels.
        """
        return {} if self.stored is None else {"decoders": decoder_versions(), "reduced": False}

    def open(self, row: int) -> InMemory:
        """The image of a row."""
        return InMemory(self.load(row))

    def annotations(self, row: int) -> Annotations:
        """None are known."""
        return Annotations()


class Joined:
    """Rows of several sources as the rows of one.

    Args:
        sources: Where they come from.
        source_of: (N,) the number of the source of each row.
        rows: (N,) the row in that source.
    """

    def __init__(self, sources: Sequence[ImageSource], source_of: npt.NDArray[np.int8], rows: Rows) -> None:
        self.sources, self.source_of, self.rows = list(sources), source_of, rows

    def describe(self) -> dict[str, Any]:
        """What its sources say: where a row comes from is in its digest."""
        return {name: value for source in self.sources for name, value in source.describe().items()}

    def open(self, row: int) -> SourceImage:
        """The image of a row."""
        source: ImageSource = self.sources[self.source_of[row]]
        return source.open(int(self.rows[row]))

    def annotations(self, row: int) -> Annotations:
        """As its source knows them."""
        source: ImageSource = self.sources[self.source_of[row]]
        return source.annotations(int(self.rows[row]))


def stored_content(source: ImageSource, row: int) -> bytes | None:
    """The content of the image file of a row that is not a file of its own; None if the source has none."""
    if isinstance(source, Joined):
        return stored_content(source.sources[source.source_of[row]], int(source.rows[row]))
    return source.stored(row) if isinstance(source, Loaded) and source.stored is not None else None


@cache
def decoder_versions() -> dict[str, str]:
    """The versions of the decoding packages that are installed, and of our own rules."""
    versions = {}
    for name in DECODERS:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {**versions, "rules": str(DECODING_VERSION)}


def boxes_of(samples: pd.DataFrame) -> Boxes:
    """The column ``box_xyxy`` as an array (N, 4); NaN where a row has none, or the column is not there."""
    boxes = np.full((len(samples), 4), np.nan, dtype=np.float32)
    if "box_xyxy" in samples:
        for row, box in enumerate(samples["box_xyxy"]):
            if box is not None and not (isinstance(box, float) and np.isnan(box)):
                boxes[row] = box
    return boxes


def box_region(box: npt.ArrayLike, size: tuple[int, int], context: float = 0.0) -> Region:
    """The whole pixels of an enlarged box, clipped to the image; at least one pixel.

    Args:
        box: x1, y1, x2, y2 in pixels, x2 and y2 excluded.
        size: Height and width of the image.
        context: Share of the box's sides by which it is widened in all, half on each side.
    """
    x1, y1, x2, y2 = (float(value) for value in np.asarray(box, dtype=np.float64))
    wider, higher = (x2 - x1) * context / 2, (y2 - y1) * context / 2
    height, width = size
    left = min(max(int(np.floor(x1 - wider + 1e-6)), 0), width - 1)
    top = min(max(int(np.floor(y1 - higher + 1e-6)), 0), height - 1)
    right = max(min(int(np.ceil(x2 + wider - 1e-6)), width), left + 1)
    bottom = max(min(int(np.ceil(y2 + higher - 1e-6)), height), top + 1)
    return Region(top, left, bottom - top, right - left)


def box_problem(box: npt.ArrayLike, size: tuple[int, int]) -> str:
    """Why an image of a height and width cannot be cropped to a box; empty if it can."""
    x1, y1, x2, y2 = (float(value) for value in np.asarray(box, dtype=np.float64))
    place = f"from {x1:g}, {y1:g} to {x2:g}, {y2:g}"
    if x2 <= x1 or y2 <= y1:
        return f"the box is empty or inverted ({place})"
    if x1 >= size[1] or y1 >= size[0] or x2 <= 0 or y2 <= 0:
        return f"the box lies outside the image ({place}; the image has {size[1]} x {size[0]} pixels)"
    return ""
