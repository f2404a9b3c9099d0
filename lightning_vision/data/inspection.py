"""Inspects every image before training: whether it decodes, its size, and hashes by which copies are found.

The results are stored beside the data, so that the next inspection reads only new and changed files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from lightning_vision.array_types import Rows
from lightning_vision.errors import DataError
from lightning_vision.images.image_sources import FileImages, ImageSource, box_problem
from lightning_vision.storage.array_file import read_arrays, write_arrays
from lightning_vision.storage.cache_folder import keep, locked
from lightning_vision.terminal.progress_bar import progress_bar

VERSION = 1
"""Version of the facts: those of another version are computed again."""
SMALLEST_SIDE = 32
"""Smallest side, in pixels, for a perceptual hash: smaller images would all look alike."""
THUMBNAIL = 8
"""Side of the thumbnails, in pixels."""


@dataclass(frozen=True)
class Inspection:
    """Facts about N images."""

    height: npt.NDArray[np.int32]
    """(N,) in pixels, upright and cropped to the box; 0 if it cannot be read. As is ``width``."""
    width: npt.NDArray[np.int32]
    bytes: npt.NDArray[np.int64]
    """(N,) size of the file; 0 without a file."""
    format: npt.NDArray[np.str_]
    """(N,) Pillow's format: JPEG, PNG, ...; empty without a file."""
    mode: npt.NDArray[np.str_]
    """(N,) Pillow's mode: RGB, L, CMYK, ..."""
    digest: npt.NDArray[np.uint8]
    """(N, 16) hash of the file and the crop, or of the pixels: equal for exact copies."""
    phash: npt.NDArray[np.uint64]
    """(N,) perceptual hash; images that look alike differ in few bits."""
    thumbnail: npt.NDArray[np.uint8]
    """(N, 8, 8, 3) RGB."""
    reason: npt.NDArray[np.str_]
    """(N,) why it cannot be used; empty if it can."""

    def __len__(self) -> int:
        return len(self.height)

    def table(self) -> pd.DataFrame:
        """One row for each image: height and width in pixels, bytes of the file, its format and mode."""
        names = ("height", "width", "bytes", "format", "mode")
        return pd.DataFrame({name: getattr(self, name) for name in names})

    def take(self, rows: Rows) -> Inspection:
        """The facts about some rows, in the given order."""
        return Inspection(**{item.name: getattr(self, item.name)[rows] for item in fields(self)})

    @staticmethod
    def joined(parts: Sequence[Inspection]) -> Inspection:
        """Concatenate the rows of several inspections."""
        names = [item.name for item in fields(Inspection)]
        return Inspection(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


@dataclass
class _Found:
    """The facts about one image."""

    height: int = 0
    width: int = 0
    file_bytes: int = 0
    format: str = ""
    mode: str = ""
    digest: bytes = bytes(16)
    phash: int = 0
    thumbnail: npt.NDArray[np.uint8] | None = None
    reason: str = ""


def inspect_files(files: FileImages, workers: int, kept: Path | None) -> Inspection:
    """Inspect every image file.

    Args:
        files: The images.
        workers: Number of threads; decoders release the GIL.
        kept: File with an earlier inspection, in which this one is stored; None stores nothing.
    """
    keys = [_key(files, row) for row in range(len(files))]
    if kept is None:
        return _inspect(lambda row: _look_at_file(files, row), len(files), workers)
    with locked(kept.parent, kept.name):  # other processes of the run wait, then read the result
        before = _read(kept)
        known = {} if before is None else {bytes(key): row for row, key in enumerate(before[0])}
        missing = np.array([row for row, key in enumerate(keys) if key not in known], dtype=np.int64)
        if before is not None and len(missing) == 0:
            return before[1].take(np.array([known[key] for key in keys], dtype=np.int64))
        fresh = _inspect(lambda row: _look_at_file(files, int(missing[row])), len(missing), workers)
        place_of_missing = {int(row): place for place, row in enumerate(missing)}
        if before is None:
            found = fresh
        else:
            places = [
                len(before[1]) + place_of_missing[row] if row in place_of_missing else known[key]
                for row, key in enumerate(keys)
            ]
            found = Inspection.joined([before[1], fresh]).take(np.array(places, dtype=np.int64))
        keep("Facts about the images", kept, lambda: _write(kept, keys, found))
        return found


def inspect_loaded(source: ImageSource, count: int, workers: int) -> Inspection:
    """Inspect images that are not files; nothing is stored."""
    return _inspect(lambda row: _look_at_pixels(source, row), count, workers)


def _inspect(look: Callable[[int], _Found], count: int, workers: int) -> Inspection:
    found: list[_Found] = []
    with ThreadPoolExecutor(max(1, workers)) as pool, progress_bar("looking at the images", count) as advance:
        for item in pool.map(look, range(count)):
            found.append(item)
            advance()
    empty = np.zeros((THUMBNAIL, THUMBNAIL, 3), dtype=np.uint8)
    thumbnails = [empty if item.thumbnail is None else item.thumbnail for item in found]
    return Inspection(
        height=np.array([item.height for item in found], dtype=np.int32),
        width=np.array([item.width for item in found], dtype=np.int32),
        bytes=np.array([item.file_bytes for item in found], dtype=np.int64),
        format=np.array([item.format for item in found], dtype=np.str_),
        mode=np.array([item.mode for item in found], dtype=np.str_),
        digest=np.frombuffer(b"".join(item.digest for item in found), dtype=np.uint8).reshape(-1, 16),
        phash=np.array([item.phash for item in found], dtype=np.uint64),
        thumbnail=np.array(thumbnails, dtype=np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL, 3),
        reason=np.array([item.reason for item in found], dtype=np.str_),
    )


def _look_at_file(files: FileImages, row: int) -> _Found:
    opening, box = files.opening(row), files.box(row)
    path = opening.path
    found = _Found()
    try:
        found.file_bytes = path.stat().st_size
        if found.file_bytes == 0:
            found.reason = "the file is empty"
            return found
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        digest.update(opening.treatment)
        found.digest = digest.digest()
        image = files.open(row)
        found.format, found.mode = image.header.format, image.header.mode
        saliency = files.saliency(row)
        if saliency is not None and not saliency.is_file():
            found.reason = f"its saliency map is not there ({saliency.name})"
            return found
        if box is not None and (wrong := box_problem(box, image.header.size)):
            found.reason = wrong
            return found
        found.height, found.width = image.size
        _describe(found, image.pixels(None, (SMALLEST_SIDE * 2, SMALLEST_SIDE * 2)).permute(1, 2, 0).numpy())
    except (DataError, OSError) as error:
        found.reason = _short(error, path)
    return found


def _look_at_pixels(source: ImageSource, row: int) -> _Found:
    found = _Found()
    try:
        pixels = np.ascontiguousarray(source.open(row).pixels().permute(1, 2, 0).numpy())  # (h, w, 3)
    except DataError as error:
        found.reason = str(error)
        return found
    found.height, found.width = pixels.shape[:2]
    found.mode = "RGB"
    found.digest = hashlib.blake2b(pixels.tobytes() + str(pixels.shape).encode(), digest_size=16).digest()
    _describe(found, pixels)
    return found


def _describe(found: _Found, pixels: npt.NDArray[np.uint8]) -> None:
    """Thumbnail and perceptual hash of (h, w, 3)."""
    image = Image.fromarray(pixels)
    found.thumbnail = np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    if min(found.height, found.width) >= SMALLEST_SIDE:
        from imagehash import phash  # imports scipy and PyWavelets, which takes most of a second

        bits = phash(image).hash.reshape(-1)  # (64,) bool
        found.phash = int.from_bytes(np.packbits(bits).tobytes(), "big")


def _short(error: Exception, path: Path) -> str:
    """An error's reason without the path, which is shown beside it."""
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, FileNotFoundError):
        return "file not found"
    if isinstance(error, OSError):  # its own text holds the path, and equal reasons are counted together
        return f"cannot be read ({error.strerror or error})"
    text = str(error).replace(f"The image {path} ", "").removesuffix(" Repair or remove it.").rstrip(".")
    return " ".join(text.split()).replace(str(path), path.name)[:300]


def _key(files: FileImages, row: int) -> bytes:
    opening, box, saliency = files.opening(row), files.box(row), files.saliency(row)
    path = opening.path
    try:
        stat = path.stat()
        identity = f"{stat.st_size} {stat.st_mtime_ns}"
    except OSError as error:
        identity = str(error.errno)
    if saliency is not None:
        identity += " with a map" if saliency.is_file() else " without its map"
    text = f"{VERSION}\0{identity}\0{'' if box is None else box.tobytes().hex()}\0".encode()
    return hashlib.blake2b(
        text + opening.treatment + bytes(str(path), "utf-8", "surrogateescape"), digest_size=16
    ).digest()


def _read(kept: Path) -> tuple[npt.NDArray[np.uint8], Inspection] | None:
    """An earlier inspection with the keys of its rows; None if none can be read."""
    arrays, names = read_arrays(kept), [item.name for item in fields(Inspection)]
    if arrays is None or not {"key", *names} <= arrays.keys():
        return None
    return arrays["key"], Inspection(**{name: arrays[name] for name in names})


def _write(kept: Path, keys: Sequence[bytes], found: Inspection) -> None:
    arrays = {item.name: getattr(found, item.name) for item in fields(Inspection)}
    arrays["key"] = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, 16)
    write_arrays(kept, arrays)
