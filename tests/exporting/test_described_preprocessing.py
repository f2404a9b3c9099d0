"""The evaluation transform, put into words."""

from typing import Any

import pytest
from torch import nn
from torchvision.transforms import v2

from lightning_vision.errors import ConfigError
from lightning_vision.exporting.preprocessing import describe_preprocessing
from lightning_vision.images.transforms import build_transforms

SIDE = 224


@pytest.mark.parametrize(
    ("asked", "operations"),
    [
        (["center_crop"], [{"op": "resize_shorter", "size": 256}, {"op": "center_crop", "size": 224}]),
        (["fixres_test"], [{"op": "resize_shorter", "size": 256}, {"op": "center_crop", "size": 224}]),
        (["resize"], [{"op": "resize", "height": 224, "width": 224}]),
        (
            [{"Resize": {"size": [300, 240]}}, {"CenterCrop": {"size": 224}}],
            [{"op": "resize", "height": 300, "width": 240}, {"op": "center_crop", "size": 224}],
        ),
        (["Identity"], []),
    ],
    ids=str,
)
def test_presets_and_torchvisions_own(asked: list[Any], operations: list[dict[str, Any]]) -> None:
    built = build_transforms(asked, SIDE, "data.eval_transforms")
    assert describe_preprocessing(v2.Compose(built or []), SIDE) == operations


def test_compositions_are_opened() -> None:
    inner = nn.Sequential(v2.Resize(256), v2.Identity())
    assert describe_preprocessing(v2.Compose([v2.Compose([inner]), v2.CenterCrop([224, 224])]), SIDE) == [
        {"op": "resize_shorter", "size": 256},
        {"op": "center_crop", "size": 224},
    ]


@pytest.mark.parametrize(
    "step",
    [
        v2.Grayscale(3),
        v2.Resize(256, interpolation=v2.InterpolationMode.BICUBIC),
        v2.Resize(256, antialias=False),
        v2.Resize(256, max_size=500),
        v2.CenterCrop([224, 200]),
        v2.Pad(4),
    ],
    ids=lambda step: str(step)[:40],
)
def test_what_cannot_be_said_is_named(step: nn.Module) -> None:
    with pytest.raises(ConfigError, match=f"supports only Resize .* found {type(step).__name__}"):
        describe_preprocessing(v2.Compose([step, v2.CenterCrop(SIDE)]), SIDE)


@pytest.mark.parametrize("last", [v2.CenterCrop(200), v2.Resize(SIDE), v2.Resize([SIDE, 200])], ids=str)
def test_images_must_have_the_networks_size_in_the_end(last: nn.Module) -> None:
    with pytest.raises(ConfigError, match="expected images of 224 x 224 pixels at the end"):
        describe_preprocessing(v2.Compose([last]), SIDE)
