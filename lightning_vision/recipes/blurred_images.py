"""Images with a region that is blurred before any other transform."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom
from torchvision.transforms.v2 import functional as transforms

from lightning_vision.array_types import Rows
from lightning_vision.images.decoding import Region
from lightning_vision.images.image_sources import Annotations, ImageSource, SourceImage

NARROW = 4.0
"""Pixels: a wider blur is made of an image that is scaled down until it is as narrow, which takes a fraction of the time."""


class BlurredImages:
    """The images of a source, some of them with a blurred region.

    Args:
        source: Opens the image of a row.
        rows: (n,) rows of the blurred images.
        masks: (n, m, m) uint8, 255 for blurred and 0 for unchanged; each mask is resized to its image.
        sigma: Standard deviation of the blur, as a share of the image's shorter side.
    """

    def __init__(self, source: ImageSource, rows: Rows, masks: Tensor, sigma: float) -> None:
        self.source, self.masks, self.sigma = source, masks, sigma
        self._place = {int(row): place for place, row in enumerate(rows)}

    def open(self, row: int) -> SourceImage:
        """The image of a row."""
        image: SourceImage = self.source.open(row)
        place = self._place.get(int(row))
        return image if place is None else BlurredImage(image, self.masks[place], self.sigma)

    def describe(self) -> dict[str, Any]:
        """What its source says, and what is blurred."""
        masks = hashlib.sha256(self.masks.cpu().numpy().tobytes()).hexdigest()
        return {**self.source.describe(), "blurred": [list(self._place), masks, self.sigma]}

    def annotations(self, row: int) -> Annotations:
        """What its source knows."""
        return self.source.annotations(row)


class BlurredImage:
    """An image that is blurred under a mask. Only the requested region is decoded and blurred.

    Args:
        image: The original image.
        mask: (m, m) uint8; see ``BlurredImages``.
        sigma: See ``BlurredImages``.
    """

    def __init__(self, image: SourceImage, mask: Tensor, sigma: float) -> None:
        self.image, self.mask, self.sigma = image, mask, sigma
        self.size = image.size

    def on_grid(self, region: Region, wanted: tuple[int, int]) -> Region:
        """See ``SourceImage``."""
        return self.image.on_grid(region, wanted)

    def pixels(self, region: Region | None = None, wanted: tuple[int, int] | None = None) -> Tensor:
        """uint8 (3, h, w), see ``SourceImage``; what is not under the mask is as it was, bit by bit."""
        sharp = self.image.pixels(region, wanted)
        seen = region or Region(0, 0, *self.size)
        opacity = mask_of_region(self.mask, self.size, seen, (sharp.shape[-2], sharp.shape[-1]))
        sigma = self.sigma * min(self.size) * sharp.shape[-2] / seen.height
        return sharp.float().lerp(blur(sharp, sigma).float(), opacity).round().to(torch.uint8)


def mask_of_region(mask: Tensor, size: tuple[int, int], region: Region, shape: tuple[int, int]) -> Tensor:
    """The part of a mask that covers a region, float32 (h, w) in [0, 1], between its points bilinear.

    Args:
        mask: (m, m) uint8, stretched over the whole image.
        size: Height and width of the image.
        region: A part of the image, in its pixels.
        shape: h and w that are wanted.
    """

    def places(first: int, length: int, whole: int, count: int) -> Tensor:
        """Of the middles of ``count`` pixels, -1 and 1 being the image's edges."""
        return 2 * (first + (torch.arange(count) + 0.5) * length / count) / whole - 1

    down = places(region.top, region.height, size[0], shape[0])
    right = places(region.left, region.width, size[1], shape[1])
    grid = torch.stack(torch.meshgrid(right, down, indexing="xy"), dim=-1)  # (h, w, 2)
    found = F.grid_sample(
        mask[None, None].float() / 255, grid[None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return found[0, 0]


def blur(image: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur, uint8 (3, h, w): as good as exact up to ``NARROW``, beyond that of an image scaled down.

    Args:
        image: uint8 (3, h, w).
        sigma: In pixels.
    """
    height, width = image.shape[-2:]
    factor = max(1.0, sigma / NARROW)
    size = [max(1, round(height / factor)), max(1, round(width / factor))]
    small = transforms.resize(image, size, antialias=True)
    length = 2 * min(math.ceil(3 * sigma / factor), min(size) - 1) + 1
    for kernel in ([length, 1], [1, length]):
        small = transforms.gaussian_blur(small, kernel, [sigma / factor, sigma / factor])
    blurred: Tensor = transforms.resize(small, [height, width], antialias=True)
    return blurred
