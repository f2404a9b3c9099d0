"""Transforms named in a configuration."""

from typing import Any

import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from lightning_vision.errors import ConfigError
from lightning_vision.images.batch_transforms import BatchTransforms
from lightning_vision.images.transforms import PRESETS, Transforms, build_transforms


def names(asked: Transforms) -> list[str]:
    return [type(module).__name__ for module in build_transforms(asked, 32, "data.train_transforms") or []]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_gives_a_uint8_image(preset: str) -> None:
    built = build_transforms([preset, "resize"], 32, "data.train_transforms")
    assert built is not None
    image = torch.randint(0, 256, (3, 40, 60), dtype=torch.uint8)
    for _ in range(3):
        made = v2.Compose(built)(image)
        assert made.dtype == torch.uint8 and made.shape == (3, 32, 32)


def test_none_leaves_the_default() -> None:
    assert build_transforms(None, 32, "data.train_transforms") is None


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("resize", ["Resize"]),
        (["center_crop", {"horizontal_flip": {"p": 1.0}}], ["Resize", "CenterCrop", "RandomHorizontalFlip"]),
        ([{"RandomRotation": {"degrees": 15}}, {"Grayscale": None}], ["RandomRotation", "Grayscale"]),
        ([{"class_path": "torchvision.transforms.v2.Pad", "init_args": {"padding": 2}}], ["Pad"]),
        ([v2.CenterCrop(8)], ["CenterCrop"]),
        (["torch.nn.Identity"], ["Identity"]),
    ],
)
def test_forms(asked: Transforms, expected: list[str]) -> None:
    assert names(asked) == expected


def test_options_arrive() -> None:
    built = build_transforms([{"rotation": {"degrees": 40}}, {"RandomErasing": {"p": 0.25}}], 32, "key")
    assert built is not None
    assert built[0].degrees == [-40.0, 40.0]
    assert built[1].p == 0.25


def test_a_quarter_turn_keeps_every_pixel() -> None:
    (turn,) = build_transforms("rotation_90", 4, "key") or [nn.Identity()]
    image = torch.arange(48, dtype=torch.uint8).reshape(3, 4, 4)
    turned = {tuple(turn(image).flatten().tolist()) for _ in range(60)}
    assert turned == {tuple(image.rot90(times, (1, 2)).flatten().tolist()) for times in range(4)}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["horizontal_flipp"], "no transform 'horizontal_flipp'. Similar names: horizontal_flip"),
        (["RandomHorizontalFlop"], "Similar names: RandomHorizontalFlip"),
        ([{"rotation": {"degres": 3}}], "rotation does not accept the options {'degres': 3}"),
        ([{"CenterCrop": {}}], "CenterCrop does not accept the options"),
        (["nowhere.Flip"], "nowhere.Flip cannot be imported"),
        (["builtins.dict"], "dict is not a transform"),
        ([["resize"]], "expected the name of a transform"),
        ([{"resize": None, "zoom": None}], "expected the name of a transform"),
    ],
)
def test_refused(asked: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.train_transforms") as caught:
        build_transforms(asked, 32, "data.train_transforms")
    assert words in str(caught.value)


class TestBatchTransforms:
    def test_nothing_is_asked_for(self) -> None:
        assert not BatchTransforms(None, 8)

    def test_one_draw_serves_the_batch(self) -> None:
        transform = BatchTransforms([{"ColorJitter": {"brightness": 0.9}}], 8)
        image = torch.full((5, 3, 8, 8), 100, dtype=torch.uint8)
        changed = transform.change(image)
        assert transform and changed.dtype == torch.uint8
        assert len(set(changed.flatten().tolist())) == 1 and changed[0, 0, 0, 0] != 100
        same, target = transform.mix(image.float(), torch.zeros(5, dtype=torch.long), 3)
        assert target is None and torch.equal(same, image.float())

    @pytest.mark.parametrize("name", ["MixUp", "mixup", "CutMix"])
    def test_mixing(self, name: str) -> None:
        torch.manual_seed(1)
        transform = BatchTransforms([{name: {"alpha": 1.0}}], 8)
        label = torch.tensor([0, 1, 2, 0])
        image = label[:, None, None, None].expand(4, 3, 8, 8).float()
        mixed, target = transform.mix(image, label, 3)
        assert target is not None
        torch.testing.assert_close(target.sum(dim=1), torch.ones(4))
        # An image of grey level c is of class c: its mean is the expectation of the target.
        torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), target @ torch.tensor([0.0, 1.0, 2.0]))

    def test_a_share_of_the_batches_is_mixed(self) -> None:
        torch.manual_seed(0)
        transform = BatchTransforms([{"CutMix": {"alpha": 1.0, "p": 0.25}}], 8)
        image, label = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])
        found = [transform.mix(image.clone(), label, 3) for _ in range(400)]
        assert 70 <= sum(target is not None for _, target in found) <= 130
        assert all(target is not None or torch.equal(mixed, image) for mixed, target in found)
        with pytest.raises(ConfigError, match=r"expected p of CutMix, the probability.*from 0 to 1, found 2"):
            BatchTransforms([{"CutMix": {"p": 2}}], 8)
        with pytest.raises(ConfigError, match="MixUp has num_classes=2"):
            BatchTransforms([{"MixUp": {"num_classes": 2, "p": 0.5}}], 8).check_classes(3)

    def test_each_batch_comes_with_the_number_of_classes(self) -> None:
        """A base may know more of them than the data that the transform was made for."""
        torch.manual_seed(1)
        transform = BatchTransforms(["MixUp", v2.CutMix()], 8)
        for classes in (3, 7):
            _, target = transform.mix(torch.rand(4, 3, 8, 8), torch.tensor([0, 2, 2, 0]), classes)
            assert target is not None and target.shape == (4, classes)
            assert (target[:, 3:] == 0).all() and (target[:, 1] == 0).all()

    def test_a_number_of_classes_that_is_pinned_must_be_the_classifiers(self) -> None:
        transform = BatchTransforms([{"MixUp": {"num_classes": 2}}], 8)
        transform.check_classes(2)
        with pytest.raises(ConfigError, match=r"MixUp has num_classes=2, but the classifier has 3 classes"):
            transform.check_classes(3)

    def test_a_single_image_stays_as_it_is(self) -> None:
        image = torch.rand(1, 3, 8, 8)
        mixed, target = BatchTransforms("CutMix", 8).mix(image, torch.tensor([1]), 3)
        assert target is None and torch.equal(mixed, image)
