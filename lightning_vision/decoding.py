"""Picture files to uint8 RGB tensors, whatever their mode, depth and orientation."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lightning_vision.errors import DataError

ORIENTATION = 0x0112
"""EXIF tag: how the camera was held."""


def decode(path: Path) -> Tensor:
    """Read one picture upright: EXIF orientation honoured, the first frame of an animation.

    Returns:
        uint8 (3, h, w), RGB. Greyscale is repeated, 16 bits are cut to their upper 8, transparency lies on white.

    Raises:
        DataError: The file is missing or cannot be decoded; its path and the reason are named.
    """
    with _explained(path), Image.open(path) as opened:
        pixels = np.array(_to_rgb(ImageOps.exif_transpose(opened)))  # (h, w, 3)
    return torch.from_numpy(pixels).permute(2, 0, 1)


class Region(NamedTuple):
    """Whole pixels of a picture."""

    top: int
    left: int
    height: int
    width: int


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture, upright, from its header.

    Raises:
        DataError: As ``decode``.
    """
    with _explained(path), Image.open(path) as opened:
        width, height = opened.size
        turned = opened.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


def decode_region(path: Path, region: Region | None = None, wanted: tuple[int, int] | None = None) -> Tensor:
    """The pixels of a region, uint8 (3, h, w)."""
    pixels = decode(path)
    if region is not None:
        pixels = pixels[:, region.top : region.top + region.height, region.left : region.left + region.width]
    return pixels


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"The picture {path} is not there any more. Put it back, or start the run anew.") from None
    except Exception as error:  # on broken files decoders raise anything: OSError, SyntaxError, struct.error, ...
        raise DataError(
            f"The picture {path} cannot be decoded ({type(error).__name__}: {error}). Repair or remove it."
        ) from error


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in ("I", "F"):
        raise ValueError(
            f"its pixels have 32 bits (Pillow's mode {picture.mode}), whose range is unknown; save 8 or 16"
        )
    if picture.mode.startswith("I;16"):  # Pillow's own conversion clips at 255 and gives a white picture
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")
