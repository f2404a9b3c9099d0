"""What reading image files takes with torch and without: their modes, sizes and scales, and why one cannot be read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from lightning_vision.errors import DataError

ORIENTATION = 0x0112
"""EXIF tag of the orientation."""
SIDEWAYS = (5, 6, 7, 8)
"""Orientations that swap height and width."""
SCALES = (8, 4, 2)
"""libjpeg decodes at an eighth, a quarter or half of the size in a fraction of the time."""
MARGIN = 1.35
"""The reduced image keeps so many times the pixels that are wanted on each side. With fewer, what the resize would have
smoothed away comes through: 4 grey levels of 255 and more on photographs, against less than 3."""
MOST_SHIFT = 0.31
"""The edges of a region may move by so much, in pixels of what is wanted, to lie on the grid of the reduced image."""
MOST_PIXELS = 1 << 28
"""Images with more pixels are treated as decompression bombs: 268 million pixels are 805 MB in memory."""
# Pillow's limit is a third of this, and it warns about images that are merely large; it refuses twice the limit.
Image.MAX_IMAGE_PIXELS = MOST_PIXELS


def to_rgb(image: Image.Image) -> Image.Image:
    """The image in mode RGB: greyscale is repeated, 16 bits are cut to their upper 8, transparency lies on white.

    Raises:
        ValueError: Its pixels have 32 bits.
    """
    if image.mode in ("I", "F"):
        raise ValueError(
            f"its pixels have 32 bits (Pillow's mode {image.mode}), whose range is unknown; save it with 8 or 16 bits"
        )
    if image.mode.startswith("I;16"):  # Pillow's own conversion clips at 255 and gives a white image
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def check_size(opened: Image.Image) -> None:
    """Refuse an image that is too large to be decoded.

    Raises:
        ValueError: It has more than ``MOST_PIXELS``.
    """
    width, height = opened.size
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"it has {width} x {height} pixels, more than {MOST_PIXELS / 1e6:.0f} million, which may be a "
            "decompression bomb"
        )


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Replace any error of a decoder by an explanation.

    Raises:
        DataError: The file is missing or cannot be decoded; its path and the reason are named.
    """
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"The image {path} does not exist any more. Restore it, or start a new run.") from None
    except Exception as error:  # on broken files decoders raise anything: OSError, SyntaxError, struct.error, ...
        raise DataError(
            f"The image {path} cannot be decoded ({type(error).__name__}: {error}). Repair or remove it."
        ) from error
