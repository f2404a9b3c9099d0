"""Image files of any mode, depth and orientation to uint8 RGB tensors."""

from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import simplejpeg
import torch
from PIL import Image
from torch import Tensor

from lightning_vision.images.deep_colour import colour_bits, has_deep_colours, stored_bits
from lightning_vision.images.pillow_decoding import (
    MARGIN,
    MOST_SHIFT,
    ORIENTATION,
    SCALES,
    SIDEWAYS,
    check_size,
    explained,
    is_sixteen_bits,
    open_image,
    upper_eight_bits,
    upright_rgb,
    upright_size,
)

MIRRORED = (2, 3, 6, 7)
"""Orientations whose columns, counted when upright, are stored from the last on."""
UPSIDE_DOWN = (3, 4, 7, 8)
"""Likewise rows."""


class Region(NamedTuple):
    """Whole pixels of an image."""

    top: int
    left: int
    height: int
    width: int


class Header(NamedTuple):
    """The header of an image file."""

    path: Path
    size: tuple[int, int]
    """Height and width, upright."""
    format: str
    """As Pillow names it."""
    mode: str
    """Pillow's mode."""
    orientation: int
    """EXIF's, 1 if upright."""
    depth: int = 8
    """Bits of a pixel in each band, 16 or at most 8."""
    exif: bytes = b""
    """The block of EXIF; empty if there is none, or the format stores it in another way, as TIFF."""


def read_header(path: Path) -> Header:
    """Read the header without decoding the image.

    Raises:
        DataError: As ``decode``.
    """
    with explained(path), open_image(path) as opened:
        check_size(opened)
        depth = _depth(opened)  # before the orientation, for which Pillow loads PNG files and drops this
        orientation = _orientation(opened)
        size = upright_size(opened, orientation)
        exif = opened.info.get("exif")
        block = exif if isinstance(exif, bytes) else b""
        return Header(path, size, opened.format or "", opened.mode, orientation, depth, block)


def decode(path: Path) -> Tensor:
    """Read an image with its EXIF orientation applied; of an animation, the first frame.

    Returns:
        uint8 (3, h, w), RGB. Greyscale is repeated, 16 bits are reduced to the upper 8 of those that the image uses, transparency
        is white.

    Raises:
        DataError: The file is missing or cannot be decoded; its path and the reason are named.
    """
    return decode_region(read_header(path))


def decode_bytes(content: bytes, place: Path) -> Tensor:
    """The image of a file that was read already, as ``decode`` gives it.

    Args:
        content: Of the file.
        place: Names it in messages.

    Raises:
        DataError: It cannot be decoded.
    """
    with explained(place), Image.open(BytesIO(content)) as opened:
        check_size(opened)
        pixels = np.array(upright_rgb(opened))  # (h, w, 3)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def decode_region(header: Header, region: Region | None = None, wanted: tuple[int, int] | None = None) -> Tensor:
    """Read a part of an image, as ``decode`` reads all of it.

    JPEG files are decoded at a reduced scale if the region then has at least ``MARGIN`` times the required pixels: at
    half scale if it has 2.7 times as many, and so on.

    Args:
        header: Of the file.
        region: None: all of it.
        wanted: Height and width that the region will be scaled to; None: as many as there are.

    Returns:
        uint8 (3, h, w), RGB.

    Raises:
        DataError: As ``decode``.
    """
    region = region or Region(0, 0, *header.size)
    scale = 1 if wanted is None else _reduction(header, region, wanted)
    with explained(header.path):
        pixels = _decode_jpeg(header, scale) if _is_plain_jpeg(header) else None
        if pixels is None:
            scale = 1
            with open_image(header.path) as opened:
                pixels = np.array(upright_rgb(opened))  # (h, w, 3)
    if scale > 1 or region != Region(0, 0, *header.size):
        (top, bottom), (left, right) = (
            (_to_grid(start, side, scale, flipped), _to_grid(start + length, side, scale, flipped))
            for start, length, side, flipped in _axes(header, region)
        )
        pixels = pixels[top : max(bottom, top + 1), left : max(right, left + 1)]
    return torch.from_numpy(pixels).permute(2, 0, 1)


def on_grid(header: Header, region: Region, wanted: tuple[int, int]) -> Region:
    """The region with its edges moved by at most half a pixel to pixels of the reduced scale for ``wanted``.

    For a random crop this shift does not matter, and the region can be read exactly.
    """
    if not _is_plain_jpeg(header):
        return region
    scale = _largest_scale(region, wanted)
    (top, bottom), (left, right) = (
        (_round(start, side, scale, flipped), _round(start + length, side, scale, flipped))
        for start, length, side, flipped in _axes(header, region)
    )
    return Region(top, left, bottom - top, right - left)


def told_mode(header: Header) -> str:
    """Pillow's mode, and for 16-bit files that use fewer bits how many: ``I;16 with 12 bits``.

    Raises:
        DataError: As ``decode``.
    """
    if header.depth < 16:
        return header.mode
    with explained(header.path), open_image(header.path) as opened:
        if is_sixteen_bits(opened):
            bits = stored_bits(np.asarray(opened))
        elif opened.mode in ("RGB", "RGBA", "CMYK"):
            cut = "" if has_deep_colours(opened) else " cut"  # to the upper 8 of 16 bits, by Pillow
            bits = colour_bits(opened)
            return header.mode if bits == 16 else f"{header.mode} with {bits} bits{cut}"
        else:
            bits = 16
    return header.mode if bits == 16 else f"{header.mode} with {bits} bits"


def decode_grey(path: Path) -> Tensor:
    """Read a greyscale map, such as a saliency map.

    Returns:
        uint8 (1, h, w).

    Raises:
        DataError: As ``decode``.
    """
    with explained(path), open_image(path) as opened:
        check_size(opened)
        if is_sixteen_bits(opened):
            return torch.from_numpy(upper_eight_bits(np.asarray(opened)))[None]
        return torch.from_numpy(np.array(opened.convert("L")))[None]


def _is_plain_jpeg(header: Header) -> bool:
    return header.format == "JPEG" and header.mode in ("RGB", "L")


def _largest_scale(region: Region, wanted: tuple[int, int]) -> int:
    """The largest reduction with which the region keeps enough pixels."""
    room = min(region.height / wanted[0], region.width / wanted[1])
    return next((scale for scale in SCALES if room >= MARGIN * scale), 1)


def _reduction(header: Header, region: Region, wanted: tuple[int, int]) -> int:
    """The same, so that the region's edges hardly move."""
    for scale in SCALES:
        if scale > _largest_scale(region, wanted):
            continue
        moved = [
            abs(edge - _round(edge, side, scale, flipped)) * pixels / length
            for (start, length, side, flipped), pixels in zip(_axes(header, region), wanted, strict=True)
            for edge in (start, start + length)
        ]
        if max(moved) <= MOST_SHIFT:
            return scale
    return 1


def _axes(header: Header, region: Region) -> tuple[tuple[int, int, int, bool], tuple[int, int, int, bool]]:
    """Per axis the region's start and length, the image's side, and whether the file counts from the other end."""
    height, width = header.size
    return (
        (region.top, region.height, height, header.orientation in UPSIDE_DOWN),
        (region.left, region.width, width, header.orientation in MIRRORED),
    )


def _round(edge: int, side: int, scale: int, flipped: bool) -> int:
    """The nearest edge of a whole reduced pixel; the last of a row may stand for fewer pixels, and is not whole."""
    from_file = side - edge if flipped else edge
    rounded = min(round(from_file / scale), side // scale) * scale
    return side - rounded if flipped else rounded


def _to_grid(edge: int, side: int, scale: int, flipped: bool) -> int:
    """The number of the reduced pixel that begins at the nearest such edge."""
    from_file = (side - edge if flipped else edge) / scale
    number = min(round(from_file), side // scale)
    return -(-side // scale) - number if flipped else number


def _decode_jpeg(header: Header, scale: int) -> npt.NDArray[np.uint8] | None:
    """libjpeg-turbo's pixels, upright (h, w, 3); None where it refuses the file: Pillow then reads it or says why not."""
    height, width = header.size[::-1] if header.orientation in SIDEWAYS else header.size
    least = (-(-height // scale), -(-width // scale)) if scale > 1 else (0, 0)
    try:
        pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
            header.path.read_bytes(), "RGB", min_height=least[0], min_width=least[1], min_factor=1
        )
    except ValueError:
        return None
    return _upright(pixels, header.orientation)


def _upright(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """As EXIF says: 2 to 4 flip and turn by 180 degrees, 5 to 8 also exchange rows and columns."""
    if orientation in SIDEWAYS:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in MIRRORED:
        pixels = pixels[:, ::-1]
    if orientation in UPSIDE_DOWN:
        pixels = pixels[::-1]
    # Not ascontiguousarray: with one row or column it keeps a negative stride, which torch does not take.
    return pixels if orientation == 1 else pixels.copy()


def _depth(opened: Image.Image) -> int:
    """Grey PGM files of 16 bits are in Pillow's mode I."""
    tiles = getattr(opened, "tile", [])
    return 16 if opened.mode.startswith("I") or any(";16" in str(tile[3]) for tile in tiles[:1]) else 8


def _orientation(opened: Image.Image) -> int:
    """EXIF's orientation, or XMP's if there is no EXIF, as Pillow turns images of all formats.

    Parsing takes a tenth of a millisecond, so only where there is either.
    """
    has_exif = opened.format != "JPEG" or "exif" in opened.info or "xmp" in opened.info
    found = opened.getexif().get(ORIENTATION, 1) if has_exif else 1
    return found if found in range(1, 9) else 1
