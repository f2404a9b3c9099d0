"""Colour images with 16 bits a channel that use fewer, such as 12: Pillow gives the upper 8 of 16 bits, nearly black."""

from __future__ import annotations

import sys
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras and scanners store in 16-bit files."""
NATIVE = "L" if sys.byteorder == "little" else "B"


def stored_bits(pixels: npt.NDArray[Any]) -> int:
    """The bits that 16-bit pixels use: the smallest of ``DEPTHS`` that holds all of them."""
    brightest = int(pixels.max(initial=0))
    return next((bits for bits in DEPTHS if brightest < 1 << bits), 16)


def colour_bits(upper: Image.Image) -> int:
    """The bits that the colours of a 16-bit image use, from the upper 8 bits that Pillow gives."""
    return stored_bits(np.asarray(upper.convert("RGB")).astype(np.uint16) * 256 + 255)


def has_deep_colours(image: Image.Image) -> bool:
    """Whether an opened image that is not loaded yet has red, green and blue with 16 bits, of which all can be read."""
    tiles = getattr(image, "tile", [])
    return bool(tiles) and all(_raw_mode(tile) in _swapped_modes() for tile in tiles)


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
        again.tile = [_swapped(tile) for tile in again.tile]
        lower = np.asarray(again).astype(np.uint16)
    upper = np.asarray(image)
    whole = upper.astype(np.uint16) << 8 | lower
    pixels = (whole >> (bits - 8)).clip(max=255).astype(np.uint8)
    if image.mode == "RGBA" and int(whole[..., 3].max(initial=0)) >= 1 << bits:
        pixels[..., 3] = upper[..., 3]  # opaque in all 16 bits
    found = Image.fromarray(pixels)
    found.info = {name: image.info[name] for name in ("exif", "xmp") if name in image.info}
    return found


def _swapped_modes() -> dict[str, str]:
    """The raw modes with 16 bits a colour, and those that read their bytes in the other order."""
    order = {"B": "L", "L": "B", "N": "B" if NATIVE == "L" else "L"}
    return {f"{mode};16{end}": f"{mode};16{other}" for mode in ("RGB", "RGBA") for end, other in order.items()}


def _raw_mode(tile: Any) -> str:
    return str(tile[3] if isinstance(tile[3], str) else tile[3][0] if tile[3] else "")


def _swapped(tile: Any) -> Any:
    other, given = _swapped_modes()[_raw_mode(tile)], tile[3]
    return cast(Any, tile)._replace(args=other if isinstance(given, str) else (other, *given[1:]))
