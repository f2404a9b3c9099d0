"""The image of an item of a torch ``Dataset`` (Pillow, tensor or NumPy) as the pixels that datamodules give."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from lightning_vision.errors import DataError


def item_image(item: Any, place: str) -> Tensor:
    """What a dataset gives as uint8 (3, h, w).

    Args:
        item: The image, and what else there is of it.
        place: For messages.

    Raises:
        DataError: It is not an image.
    """
    if not isinstance(item, Sequence) or len(item) == 0:
        raise DataError(f"{place}: expected an image and its class, found a {type(item).__name__}.")
    given = item[0]
    if isinstance(given, Image.Image):
        given = given if given.mode in ("I", "F") or given.mode.startswith("I;16") else _rgb(given)
    if isinstance(given, Tensor):
        pixels = given.detach().cpu().numpy()
    elif isinstance(given, np.ndarray | Image.Image):
        pixels = np.asarray(given)
        pixels = pixels.transpose(2, 0, 1) if pixels.ndim == 3 and pixels.shape[2] in (1, 3) else pixels
    else:
        raise DataError(f"{place}: expected an image (Pillow, tensor or NumPy), found a {type(given).__name__}.")
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3) or 0 in pixels.shape:
        raise DataError(f"{place}: expected an image of 1 or 3 channels (c, h, w), found the shape {pixels.shape}.")
    return torch.from_numpy(np.ascontiguousarray(_bytes(pixels, place))).expand(3, *pixels.shape[1:])


def _rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _bytes(pixels: npt.NDArray[Any], place: str) -> npt.NDArray[np.uint8]:
    """Pixels of any kind from 0 to 255."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return (pixels >> 8).astype(np.uint8)
    most = 1 if np.issubdtype(pixels.dtype, np.floating) or pixels.dtype == np.bool_ else 255
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= -1e-4 and high <= most + 1e-4):  # NaN is neither
        raise DataError(
            f"{place}: expected {pixels.dtype} pixels from 0 to {most}, found {low:.4g} to {high:.4g}. If the "
            "dataset normalises its images, disable this, because the network normalises them."
        )
    return np.rint(pixels.astype(np.float64) * (255 / most)).clip(0, 255).astype(np.uint8)
