"""Images of several channels with 16 bits that use fewer, such as 12: Pillow gives the upper 8 of 16 bits, nearly black."""

from __future__ import annotations

import sys
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras and scanners store in 16-bit files."""
NATIVE = "L" if sys.byteorder == "little" else "B"
DEEP = ("RGB", "RGBX", "RGBA", "CMYK")
"""Pillow's raw modes whose channels may have 16 bits, in either order of bytes."""
ORIENTING = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
"""Entries of Pillow's ``info`` that may hold an orientation; the last one is ImageMagick's."""
GREY_AND_ALPHA = "LA;16B"
"""That of grey PNG files with transparency. Each of its pixels has four bytes, as those of RGBA."""


def stored_bits(pixels: npt.NDArray[Any]) -> int:
    """The bits that 16-bit pixels use: the smallest of ``DEPTHS`` that holds all of them."""
    brightest = int(pixels.max(initial=0))
    return next((bits for bits in DEPTHS if brightest < 1 << bits), 16)


def colour_bits(upper: Image.Image) -> int:
    """The bits that the colours of a 16-bit image use, from the upper 8 bits that Pillow gives."""
    channels = np.asarray(upper)
    colours = channels if upper.mode == "CMYK" else channels[..., :3]  # without transparency
    return stored_bits(colours.astype(np.uint16) * 256 + 255)


def has_deep_colours(image: Image.Image) -> bool:
    """Whether an opened image that is not loaded yet has channels of 16 bits, of which all bits can be read."""
    tiles = getattr(image, "tile", [])
    return bool(tiles) and all(_raw_mode(tile) in _lower_modes() for tile in tiles)


def scaled_colours(image: Image.Image) -> Image.Image:
    """An opened image with the upper 8 of the bits that its colours use; images of all 16 bits, and others, unchanged.

    The file is read again for the lower 8 bits of each channel: as numbers whose bytes are in the other order, of which
    Pillow gives the upper byte.
    """
    if not has_deep_colours(image):
        return image
    opened = cast(ImageFile.ImageFile, image)  # it has tiles
    place: Any = opened.filename or opened.fp
    bits = colour_bits(image)
    if bits == 16:
        return image
    if not isinstance(place, str | bytes):
        place.seek(0)
    with Image.open(place) as again:
        grey = _raw_mode(again.tile[0]) == GREY_AND_ALPHA
        again.tile = [_lower(tile) for tile in again.tile]
        read = np.asarray(again)
    upper = np.asarray(image)
    lower = read[..., [1, 1, 1, 3]] if grey else read  # there all four bytes of a pixel
    whole = upper.astype(np.uint16) << 8 | lower
    pixels = (whole >> (bits - 8)).clip(max=255).astype(np.uint8)
    if image.mode == "RGBA" and int(whole[..., 3].max(initial=0)) >= 1 << bits:
        pixels[..., 3] = upper[..., 3]  # opaque in all 16 bits
    found = Image.frombytes(image.mode, image.size, pixels.tobytes())
    found.info = orientation_of(image)
    return found


def orientation_of(image: Image.Image) -> dict[str | tuple[int, int], Any]:
    """Those entries of an image's ``info`` by which Pillow turns it."""
    return {name: image.info[name] for name in ORIENTING if name in image.info}


def _lower_modes() -> dict[str, str]:
    """The raw modes with 16 bits a channel, and those that read the lower bytes: their bytes are in the other order."""
    order = {"B": "L", "L": "B", "N": "B" if NATIVE == "L" else "L"}
    swapped = {f"{mode};16{end}": f"{mode};16{other}" for mode in DEEP for end, other in order.items()}
    return {**swapped, GREY_AND_ALPHA: "RGBA"}


def _raw_mode(tile: Any) -> str:
    return str(tile[3] if isinstance(tile[3], str) else tile[3][0] if tile[3] else "")


def _lower(tile: Any) -> Any:
    other, given = _lower_modes()[_raw_mode(tile)], tile[3]
    return cast(Any, tile)._replace(args=other if isinstance(given, str) else (other, *given[1:]))
