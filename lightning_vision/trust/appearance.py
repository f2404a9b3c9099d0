"""Simple statistics of images: light, sharpness, and the border, which is mostly background."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

BORDER = 8
"""The border is an eighth of the image's side, on each side."""
LIGHT = ("brightness", "contrast", "sharpness")
BACKGROUND = ("border red", "border green", "border blue", "border texture")
STATISTICS = (*LIGHT, *BACKGROUND)
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness that the eye sees (ITU-R BT.601)."""
LAPLACE = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


def appearance(image: Tensor) -> Tensor:
    """The ``STATISTICS`` of images, in grey levels from 0 to 255.

    Brightness is the mean of the luma, contrast its standard deviation, sharpness the standard deviation of its Laplacian
    (the focus measure of Pech-Pacheco et al. 2000, as a root); the border's colour is the mean of each channel there, its
    texture the standard deviation of its luma.

    Args:
        image: uint8 (N, 3, H, W), all of one size of at least 3 pixels.

    Returns:
        (N, 7) float32.
    """
    pixels = image.float()
    luma = (pixels * pixels.new_tensor(LUMA)[:, None, None]).sum(dim=1)  # (N, H, W)
    edges = F.conv2d(luma[:, None], luma.new_tensor(LAPLACE)[None, None])
    height, width = luma.shape[1:]
    high, wide = max(1, height // BORDER), max(1, width // BORDER)
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[high : height - high, wide : width - wide] = True
    border = pixels.flatten(2)[..., ~inside.flatten()]  # (N, 3, pixels of the border)
    border_luma = luma.flatten(1)[:, ~inside.flatten()]
    return torch.stack(
        [
            luma.mean(dim=(1, 2)),
            luma.std(dim=(1, 2), correction=0),
            edges.std(dim=(1, 2, 3), correction=0),
            *border.mean(dim=2).unbind(dim=1),
            border_luma.std(dim=1, correction=0),
        ],
        dim=1,
    )


def thumbnail_border(thumbnail: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The border cells of thumbnails (N, 8, 8, 3), in one order: (N, 84)."""
    rim = np.ones(thumbnail.shape[1:3], dtype=np.bool_)
    rim[1:-1, 1:-1] = False
    cells: npt.NDArray[np.float32] = thumbnail[:, rim].reshape(len(thumbnail), -1).astype(np.float32)
    return cells
