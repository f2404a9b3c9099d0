"""Looks at one image: its size, and hashes by which copies are found."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from lightning_vision.errors import DataError
from lightning_vision.images.capture_time import taken_at
from lightning_vision.images.decoding import told_mode
from lightning_vision.images.image_sources import FileImages, ImageSource, box_problem, stored_content
from lightning_vision.storage.file_facts import short_reason

SMALLEST_SIDE = 32
"""Smallest side, in pixels, for a perceptual hash: smaller images would all look alike."""
THUMBNAIL = 8
"""Side of the thumbnails, in pixels."""
UNOPENED, HEADER, DECODED = 0, 1, 2
"""Depths of an inspection."""


@dataclass
class ImageFacts:
    """The facts about one image, with the names of ``Inspection``."""

    height: int = 0
    width: int = 0
    bytes: int = 0
    format: str = ""
    mode: str = ""
    digest: npt.NDArray[np.uint8] | int = 0
    phash: int = 0
    thumbnail: npt.NDArray[np.uint8] | int = 0
    reason: str = ""
    depth: int = UNOPENED
    taken: float = 0.0


def look_at_file(files: FileImages, row: int, decode: bool) -> ImageFacts:
    """The facts about a file.

    Args:
        files: The images.
        row: The row.
        decode: Read all of it; otherwise only its header.
    """
    opening, box = files.opening(row), files.box(row)
    path = opening.path
    found = ImageFacts()
    try:
        found.bytes = path.stat().st_size
        if found.bytes == 0:
            found.reason = "the file is empty"
            return found
        if decode:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
            digest.update(opening.treatment)
            found.digest = np.frombuffer(digest.digest(), dtype=np.uint8)
        image = files.open(row)
        found.format = image.header.format
        found.taken = np.nan_to_num(taken_at(image.header.exif))
        found.mode = told_mode(image.header) if decode else image.header.mode
        saliency = files.saliency(row)
        if saliency is not None and not saliency.is_file():
            found.reason = f"its saliency map is not there ({saliency.name})"
            return found
        if box is not None and (wrong := box_problem(box, image.header.size)):
            found.reason = wrong
            return found
        found.height, found.width = image.size
        if decode:
            _describe(found, image.pixels(None, (SMALLEST_SIDE * 2, SMALLEST_SIDE * 2)).permute(1, 2, 0).numpy())
        found.depth = DECODED if decode else HEADER
    except (DataError, OSError) as error:
        found.reason = short_reason(error, path)
    return found


def look_at_pixels(source: ImageSource, row: int) -> ImageFacts:
    """The facts about an image that is not a file."""
    found = ImageFacts()
    try:
        pixels = pixels_of(source, row)
        content = stored_content(source, row)
    except DataError as error:
        found.reason = str(error)
        return found
    found.height, found.width = pixels.shape[:2]
    found.mode = "RGB"
    found.digest = digest_of_pixels(pixels) if content is None else digest_of_content(content)
    _describe(found, pixels)
    found.depth = DECODED
    return found


def pixels_of(source: ImageSource, row: int) -> npt.NDArray[np.uint8]:
    """uint8 (h, w, 3)."""
    return np.ascontiguousarray(source.open(row).pixels().permute(1, 2, 0).numpy())


def digest_of_loaded(source: ImageSource, row: int) -> npt.NDArray[np.uint8]:
    """(16,) the hash of an image that is not a file of its own: of its stored file, which is not decoded, or its pixels.

    Raises:
        DataError: It cannot be loaded.
    """
    content = stored_content(source, row)
    return digest_of_pixels(pixels_of(source, row)) if content is None else digest_of_content(content)


def digest_of_content(content: bytes) -> npt.NDArray[np.uint8]:
    """(16,) the hash of a file."""
    return np.frombuffer(hashlib.blake2b(content, digest_size=16).digest(), dtype=np.uint8)


def digest_of_pixels(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(16,) the hash of an image that is not a file."""
    digest = hashlib.blake2b(pixels.tobytes() + str(pixels.shape).encode(), digest_size=16).digest()
    return np.frombuffer(digest, dtype=np.uint8)


def _describe(found: ImageFacts, pixels: npt.NDArray[np.uint8]) -> None:
    """Thumbnail and perceptual hash of (h, w, 3)."""
    image = Image.fromarray(pixels)
    found.thumbnail = np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    if min(found.height, found.width) >= SMALLEST_SIDE:
        from imagehash import phash  # imports scipy and PyWavelets, which takes most of a second

        bits = phash(image).hash.reshape(-1)  # (64,) bool
        found.phash = int.from_bytes(np.packbits(bits).tobytes(), "big")
