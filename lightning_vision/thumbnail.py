"""A small JPEG of a picture, for a page."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from torch import Tensor


def jpeg_thumbnail(pixels: Tensor, side: int) -> tuple[bytes, tuple[int, int]]:
    """A JPEG of uint8 (3, h, w), its longer side reduced to ``side`` where it is larger; and its width and height."""
    picture = Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80, optimize=True)
    return buffer.getvalue(), picture.size
