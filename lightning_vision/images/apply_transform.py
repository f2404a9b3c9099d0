"""Apply transforms to an image, and decode only what the first transform keeps."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F  # noqa: N812 - torchvision's own custom

from lightning_vision.errors import ConfigError, DataError
from lightning_vision.images.decoding import Region
from lightning_vision.images.image_sources import Annotations, SourceImage

Transform = Callable[[Tensor], Tensor]


def seeded(call: Callable[[], Any], seed: int) -> Any:
    """Call with seeded generators of torch and Python, and restore their state; a negative seed has no effect.

    torch.manual_seed is not used, because it would also seed the GPU's generator, which is used for dropout.
    """
    if seed < 0:
        return call()
    before, torch_before = random.getstate(), torch.default_generator.get_state()
    random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        return call()
    finally:
        random.setstate(before)
        torch.default_generator.set_state(torch_before)


def transform_image(transform: Callable[[Tensor], Tensor], source: SourceImage) -> Tensor:
    """The transformed image, as if the whole image had been decoded.

    If a composition begins with RandomResizedCrop or Resize, the crop is drawn before the image is decoded, and a
    region with more than twice the required pixels is decoded at a reduced scale. The random numbers are the same; such
    a crop is shifted by at most half a pixel of that scale.
    """
    steps: list[Any] = list(transform.transforms) if isinstance(transform, v2.Compose) else [transform]
    first, *rest = steps
    if type(first) is v2.RandomResizedCrop:
        drawn = first.make_params([torch.empty((3, *source.size), device="meta")])
        wanted = (int(first.size[0]), int(first.size[1]))
        region = source.on_grid(Region(drawn["top"], drawn["left"], drawn["height"], drawn["width"]), wanted)
        image = _resize(source.pixels(region, wanted), wanted, first)
    elif type(first) is v2.Resize and (size := _resized_size(first, source.size)) is not None:
        image = _resize(source.pixels(None, size), size, first)
    else:
        image = first(source.pixels())
    for step in rest:
        image = step(image)
    return image


def transform_annotated(transform: Callable[..., Any], pixels: Tensor, known: Annotations) -> dict[str, Tensor]:
    """The image, its box and its saliency map after the same geometric transforms.

    Args:
        transform: Of torchvision v2, which know annotations by their type.
        pixels: uint8 (3, h, w).
        known: The annotations, in its pixels.

    Returns:
        ``image`` uint8 (3, H, W); ``box_xyxy`` float32 (4,), NaN without a box or where it was cropped away; ``saliency``
        uint8 (1, H, W), 0 without a map.

    Raises:
        DataError: The map is not of the image's size.
        ConfigError: The transform loses the annotations.
    """
    height, width = pixels.shape[-2:]
    saliency = torch.zeros(1, height, width, dtype=torch.uint8) if known.saliency is None else known.saliency
    if saliency.shape[-2:] != (height, width):
        raise DataError(
            f"A saliency map of {saliency.shape[-1]} x {saliency.shape[-2]} pixels does not match its image of {width} "
            f"x {height} pixels. Expected equal sizes."
        )
    box = torch.tensor([[0, 0, 1, 1]] if known.box is None else known.box[None], dtype=torch.float32)
    boxes = tv_tensors.BoundingBoxes(box, format="XYXY", canvas_size=(height, width))
    moved = transform(tv_tensors.Image(pixels), boxes, tv_tensors.Mask(saliency))
    if not isinstance(moved, Sequence) or len(moved) != 3:
        raise ConfigError("data.annotations needs transforms of torchvision v2, which accept several inputs.")
    image, boxes, mask = moved
    corners = F.clamp_bounding_boxes(boxes).as_subclass(Tensor)[0].float()
    if known.box is None or corners[2] <= corners[0] or corners[3] <= corners[1]:
        corners = torch.full((4,), torch.nan)
    return {"image": image.as_subclass(Tensor), "box_xyxy": corners, "saliency": mask.as_subclass(Tensor)}


def _resize(pixels: Tensor, size: tuple[int, int], step: Any) -> Tensor:
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    resized: Tensor = F.resize(pixels, list(size), interpolation=step.interpolation, antialias=step.antialias)
    return resized


def _resized_size(step: v2.Resize, size: tuple[int, int]) -> tuple[int, int] | None:
    """Output height and width of Resize; None for its rarer options."""
    if step.max_size is not None or step.size is None:
        return None
    wanted = list(step.size)
    if len(wanted) == 2:
        return int(wanted[0]), int(wanted[1])
    height, width = size
    short = int(wanted[0])
    # As torchvision does: the longer side is cut to whole pixels.
    return (short, int(short * width / height)) if height <= width else (int(short * height / width), short)
