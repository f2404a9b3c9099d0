"""A map over its image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

COLOURS = "inferno"
"""Its lightness increases with the map, so it can be read without colours."""


def overlay(image: Tensor, heat: Tensor) -> Tensor:
    """Blend a map with its image: grey and dim where the map is low, coloured where it is high.

    Args:
        image: uint8 (3, H, W).
        heat: (h, w) in [0, 1]; enlarged to the image's size if it is smaller.

    Returns:
        uint8 (3, H, W).
    """
    size = image.shape[-2:]
    heat = F.interpolate(heat[None, None].float(), size, mode="bilinear", align_corners=False)[0, 0].clamp(0, 1)
    grey = (image.float() * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=0) / 255  # (H, W)
    colours: npt.NDArray[np.float64] = colormaps[COLOURS](heat.numpy())[..., :3]
    colour = torch.from_numpy(colours).permute(2, 0, 1).float()
    strength = 0.25 + 0.45 * heat
    mixed = (1 - strength) * grey + strength * colour
    return (mixed * 255).round().clamp(0, 255).to(torch.uint8)
