"""Transforms at another size."""

import pytest
import torch
from tiny_network import tiny_network
from torch import Tensor, nn
from torchvision.transforms import v2

from lightning_vision.errors import ConfigError
from lightning_vision.images.transforms import build_transforms
from lightning_vision.learning.backbones import build_backbone
from lightning_vision.learning.network import Network
from lightning_vision.recipes.image_size import at_size, check_sizes, with_room


def image(height: int = 60, width: int = 80) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def preset(name: str, image_size: int, *more: nn.Module) -> v2.Compose:
    return v2.Compose([*(build_transforms([name], image_size, "test") or []), *more])


@pytest.mark.parametrize("name", ["random_resized_crop", "resize", "center_crop"])
def test_it_is_what_would_have_been_built_at_that_size(name: str) -> None:
    found = at_size(preset(name, 224, v2.RandomHorizontalFlip()), 112)
    built = preset(name, 112, v2.RandomHorizontalFlip())
    drawn = []
    for transform in (found, built):
        torch.manual_seed(0)
        drawn.append(transform(image()))
    assert torch.equal(*drawn) and drawn[0].shape == (3, 112, 112)


def test_the_transform_itself_stays_as_it_was() -> None:
    transform = preset("center_crop", 224)
    at_size(transform, 32)
    assert transform(image()).shape == (3, 224, 224)


@pytest.mark.parametrize(
    "steps",
    [
        [v2.RandomCrop(32, padding=4, pad_if_needed=True)],  # of a smaller crop less would be seen
        [v2.CenterCrop(32)],
        [v2.Resize(40), v2.RandomApply([v2.CenterCrop(32)]), v2.CenterCrop(32)],
        [v2.Resize(None, max_size=40), v2.CenterCrop(32)],
    ],
)
def test_what_cannot_be_scaled_is_done_as_it_is_and_resized(steps: list[nn.Module]) -> None:
    drawn = []
    for transform in (at_size(v2.Compose(steps), 20), v2.Compose([*steps, v2.Resize([20, 20])])):
        torch.manual_seed(0)
        drawn.append(transform(image()))
    assert torch.equal(*drawn) and drawn[0].shape == (3, 20, 20)


def test_a_transform_without_a_size_is_resized() -> None:
    assert at_size(v2.Identity(), 8)(image()).shape == (3, 8, 8)


def test_room_is_left_around_the_same_centre() -> None:
    plain = preset("center_crop", 56)
    wider = with_room(plain, 56)(image())
    assert wider.shape == (3, 64, 64)
    assert torch.equal(v2.CenterCrop(56)(wider), plain(image()))


@pytest.mark.parametrize("steps", [[v2.Resize([56, 56])], [v2.Resize(56), v2.CenterCrop(56)], [v2.Identity()]])
def test_where_there_is_no_room_the_image_is_enlarged(steps: list[nn.Module]) -> None:
    assert with_room(v2.Compose(steps), 56)(image()).shape == (3, 64, 64)


def test_a_size_that_the_backbone_cannot_take_is_refused() -> None:
    module, facts = build_backbone("vit_tiny_patch16_224", pretrained=False, image_size=32)
    network = Network(module, facts, 3).train()
    check_sizes(network, [32], "FixRes.train_size")
    with pytest.raises(
        ConfigError,
        match=r"FixRes.train_size: vit_tiny_patch16_224 does not support images of 48 pixels .*Choose another",
    ):
        check_sizes(network, [32, 48], "FixRes.train_size")
    assert network.training


def test_looking_leaves_statistics_alone() -> None:
    network = tiny_network(norm=True).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    check_sizes(network, [2], "size")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
