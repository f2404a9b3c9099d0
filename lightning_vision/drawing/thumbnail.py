"""A small JPEG of an image, for a page."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:  # pages are also made where there is no torch
    from torch import Tensor


def jpeg_thumbnail(pixels: Tensor, side: int) -> tuple[bytes, tuple[int, int]]:
    """A JPEG of uint8 (3, h, w), reduced to a longer side of at most ``side``, and its width and height."""
    return jpeg_of(Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())), side)


def jpeg_of(image: Image.Image, side: int) -> tuple[bytes, tuple[int, int]]:
    """The same for an image in mode RGB."""
    reduced = image.copy()
    reduced.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    reduced.save(buffer, "JPEG", quality=80, optimize=True)
    return buffer.getvalue(), reduced.size
