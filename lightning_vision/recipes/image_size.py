"""The output size of transforms: the same transforms at another size, and backbones that support it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torchvision.transforms import v2

from lightning_vision.errors import ConfigError
from lightning_vision.images.apply_transform import Transform
from lightning_vision.learning.network import Network

SCALING = (v2.RandomResizedCrop, v2.Resize)
"""They choose how large things look; what comes after can be scaled along."""
ROOM = 256 / 224
"""Side of the image that crops are taken from, in sides of a crop."""


def at_size(transform: Transform, size: int) -> v2.Compose:
    """A transform that does the same and gives square images of another size.

    Where the sizes in it are those of RandomResizedCrop, Resize and CenterCrop, beginning with one of the first two, they
    are scaled, so that the rest of it works on as few pixels. All other transforms are applied unchanged, and the result is resized.

    Args:
        transform: uint8 (3, h, w) to uint8 (3, H, W).
        size: The new H = W, in pixels.
    """
    steps = _steps(transform)
    sized = [step for top in steps for step in _within(top) if hasattr(step, "size")]
    known = all(
        type(step) in (*SCALING, v2.CenterCrop) and step in steps and step.size and not getattr(step, "max_size", None)
        for step in sized
    )
    if not (sized and known and type(sized[0]) in SCALING and len(set(sized[-1].size)) == 1):
        return v2.Compose([*steps, v2.Resize([size, size], antialias=True)])
    scale = size / sized[-1].size[0]
    return v2.Compose([_scaled(step, scale) if step in sized else step for step in steps])


def with_room(transform: Transform, image_size: int) -> v2.Compose:
    """An evaluation transform that leaves room around what it would show: images of 256/224 of ``image_size``.

    Where a CenterCrop ends it, less is cut off, so that things look as large as before and the centre is the image
    that it was. Otherwise the image is made larger.
    """
    steps, room = _steps(transform), int(ROOM * image_size)
    cropped = [type(step) for step in steps[-2:]] == [v2.Resize, v2.CenterCrop]
    if cropped and min(steps[-2].size or [0]) >= room:
        return v2.Compose([*steps[:-1], v2.CenterCrop(room)])
    return at_size(transform, room)


def check_sizes(network: Network, sizes: Iterable[int], option: str) -> None:
    """Refuse sizes that the backbone cannot take.

    Args:
        network: It is put into evaluation mode meanwhile.
        sizes: Sides of square images, in pixels.
        option: Where they come from, for the message.

    Raises:
        ConfigError: The backbone was built for one size, or an image is too small for it.
    """
    mode = network.training
    network.eval()
    try:
        for size in sorted(set(sizes)):
            image = torch.zeros(1, 3, size, size, device=network.mean.device, dtype=network.mean.dtype)
            try:
                with torch.no_grad(), torch.compiler.set_stance("force_eager"):
                    network.backbone(image)
            except (RuntimeError, AssertionError, ValueError) as error:
                raise ConfigError(
                    f"{option}: {network.facts.name} does not support images of {size} pixels "
                    f"({' '.join(str(error).split())[:200]}). Choose another size, or a backbone that supports it."
                ) from error
    finally:
        network.train(mode)


def _steps(transform: Transform) -> list[Any]:
    return list(transform.transforms) if isinstance(transform, v2.Compose) else [transform]


def _within(step: Any) -> Iterator[Any]:
    """A step and those that it chooses from or applies."""
    yield step
    for inner in getattr(step, "transforms", ()):
        yield from _within(inner)


def _scaled(step: Any, scale: float) -> Any:
    scaled = copy.copy(step)
    scaled.size = [max(1, round(scale * side)) for side in step.size]
    return scaled
