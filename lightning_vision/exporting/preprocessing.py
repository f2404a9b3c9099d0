"""The preprocessing of images as a list of operations for programs without torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from torchvision.transforms import v2

from lightning_vision.errors import ConfigError

Operation = dict[str, Any]
KNOWN = (
    "Resize (to one size or to height and width, bilinear, antialias), CenterCrop (to a square) and Identity, as used "
    "by the presets resize, center_crop and fixres_test"
)


def describe_preprocessing(transform: nn.Module, image_size: int) -> list[Operation]:
    """The evaluation transform as operations, in order.

    Args:
        transform: The evaluation transform.
        image_size: S, the final side of images.

    Returns:
        ``{"op": "resize_shorter", "size": n}``, ``{"op": "resize", "height": h, "width": w}`` and
        ``{"op": "center_crop", "size": n}``, all in pixels; resizing is bilinear with antialias.

    Raises:
        ConfigError: It contains another transform, or its output may not be S x S.
    """
    operations = [_described(step) for step in _steps(transform) if not isinstance(step, v2.Identity)]
    square = {"size": image_size}, {"height": image_size, "width": image_size}
    last = {key: value for key, value in operations[-1].items() if key != "op"} if operations else square[0]
    if last not in square or (operations and operations[-1]["op"] == "resize_shorter"):
        raise ConfigError(
            f"data.eval_transforms: expected images of {image_size} x {image_size} pixels at the end, found "
            f"{operations[-1]} as the last step. End with CenterCrop or a Resize to height and width of "
            "data.image_size."
        )
    return operations


def _steps(transform: nn.Module) -> Iterator[nn.Module]:
    if isinstance(transform, v2.Compose | nn.Sequential):
        for step in transform.transforms if isinstance(transform, v2.Compose) else transform:
            yield from _steps(step)
    else:
        yield transform


def _described(step: Any) -> Operation:
    if type(step) is v2.Resize and _is_plain(step):
        size = [int(side) for side in step.size]
        if len(size) == 1:
            return {"op": "resize_shorter", "size": size[0]}
        return {"op": "resize", "height": size[0], "width": size[1]}
    if type(step) is v2.CenterCrop and len(set(step.size)) == 1:
        return {"op": "center_crop", "size": int(step.size[0])}
    raise ConfigError(
        f"data.eval_transforms: an exported classifier supports only {KNOWN}; found {step}. Export with other "
        "data.eval_transforms, and check the scores with them."
    )


def _is_plain(resize: Any) -> bool:
    asked = resize.interpolation  # torchvision keeps what it was given, a word or a member of the enumeration
    bilinear = "bilinear" in (asked, getattr(asked, "value", None))
    return bilinear and bool(resize.antialias) and resize.size is not None and resize.max_size is None
