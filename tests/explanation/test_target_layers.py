"""The layer that is mapped, of real backbones."""

import pytest
import timm
import torch
from tiny_network import HALF
from torch import nn

from lightning_vision.errors import ConfigError
from lightning_vision.explanation.target_layers import find_target_layer, layout_of
from lightning_vision.learning.backbones import BackboneFacts, build_backbone
from lightning_vision.learning.network import Network


@pytest.mark.parametrize(
    ("shape", "prefix", "expected"),
    [
        ((2, 512, 7, 7), None, ("channels first", 512, 7, 0)),
        ((2, 7, 7, 768), None, ("channels last", 768, 7, 0)),
        ((2, 197, 192), 1, ("tokens", 192, 14, 1)),
        ((2, 196, 192), 1, ("tokens", 192, 14, 0)),
        ((2, 198, 192), 2, ("tokens", 192, 14, 2)),
        ((2, 41, 64), 5, ("tokens", 64, 6, 5)),
        ((2, 50, 64), None, ("tokens", 64, 7, 1)),
    ],
)
def test_what_a_shape_says(shape: tuple[int, ...], prefix: int | None, expected: tuple[str, int, int, int]) -> None:
    layout = layout_of(torch.Size(shape), 2, prefix)
    assert layout is not None
    assert (layout.kind, layout.channels, layout.side, layout.prefix) == expected


@pytest.mark.parametrize("shape", [(2, 512), (2, 512, 1, 1), (8, 49, 96), (2, 8, 5, 7), (2, 3, 64)])
def test_what_is_no_map(shape: tuple[int, ...]) -> None:
    assert layout_of(torch.Size(shape), 2) is None


# A layer of each kind: convolutions, class token, distillation token, patches averaged, channels last, convolutions and
# tokens, a class token that comes late, pooled attention.
FAMILIES = {
    "resnet18@64": "layer4 (2 x 2 positions)",
    "resnet18@32": "layer3 (2 x 2 positions)",  # behind it there is a single place, and some blocks start at zero
    "test_efficientnet@64": "bn2 (2 x 2 positions)",
    "mobilenetv3_small_100@64": "blocks (2 x 2 positions)",
    "test_vit@64": "blocks.5.norm1 (4 x 4 positions)",
    "deit_tiny_distilled_patch16_224@64": "blocks.11.norm1 (4 x 4 positions)",
    "test_vit3@64": "norm (4 x 4 positions)",
    "eva02_tiny_patch14_224@56": "norm (4 x 4 positions)",
    "swin_tiny_patch4_window7_224@64": "norm (2 x 2 positions)",
    "levit_128s@224": "stages (4 x 4 positions)",
    "edgenext_xx_small@64": "norm_pre (2 x 2 positions)",
    "test_mambaout@64": "stages (2 x 2 positions)",
    "xcit_nano_12_p16_224@224": "cls_attn_blocks.1.norm1 (14 x 14 positions)",
}


@pytest.mark.parametrize(("name", "expected"), FAMILIES.items())
def test_the_layer_of_each_family(name: str, expected: str) -> None:
    backbone, _, size = name.partition("@")
    torch.manual_seed(0)
    module, _ = build_backbone(backbone, pretrained=False, image_size=int(size))
    assert str(find_target_layer(module, int(size))) == expected


def test_the_map_has_the_places_of_the_patches() -> None:
    """Only the patch at row 1, column 2 differs, and the first norm's tokens know nothing of each other."""
    module, _ = build_backbone("test_vit", pretrained=False, image_size=64)
    found = find_target_layer(module, 64, "blocks.0.norm1")
    kept: list[torch.Tensor] = []
    module.get_submodule(found.name).register_forward_hook(lambda *called: kept.append(called[2]))
    plain = torch.zeros(1, 3, 64, 64)
    changed = plain.clone()
    changed[:, :, 16:32, 32:48] = 1
    module.eval()(plain), module(changed)
    moved = (found.layout.to_map(kept[0]) - found.layout.to_map(kept[1])).abs().sum(dim=1)[0]
    assert (moved > 0).nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize(("length", "deep"), [(2, True), (29, True), (10, False)])
def test_tokens_of_grafts_are_no_places(length: int, deep: bool) -> None:
    """29 and the class token beside 196 patches are 15 x 15 tokens and one."""
    module = timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=2, embed_dim=12)
    network = Network(module, BackboneFacts("vit", 12, HALF, HALF), 2)
    before = find_target_layer(module, 224)
    network.graft("tokens", "p", length=length, deep=deep)
    after = find_target_layer(module, 224)
    assert (str(before), str(after)) == ("blocks.1.norm1 (14 x 14 positions)",) * 2
    assert (before.layout.prefix, after.layout.prefix) == (1, 1 + length)
    assert find_target_layer(module, 224, "blocks.0").layout.prefix == (1 if deep else 1 + length)
    with network.only():
        assert find_target_layer(module, 224) == before


def test_a_layer_of_ones_own() -> None:
    module, _ = build_backbone("test_resnet", pretrained=False, image_size=64)
    assert str(find_target_layer(module, 64, "layer3")) == "layer3 (4 x 4 positions)"
    with pytest.raises(ConfigError, match=r"layer: the backbone ResNet has no layer 'leyer3'\. Similar names: layer3"):
        find_target_layer(module, 64, "leyer3")
    with pytest.raises(
        ConfigError, match=r"the output of global_pool is not a map: expected \(C, h, w\), .* found \(96,\)"
    ):
        find_target_layer(module, 64, "global_pool")


def test_a_backbone_without_places() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
    with pytest.raises(ConfigError, match=r"Sequential has no spatial features at 8 pixels.*another backbone"):
        find_target_layer(flat, 8)


def test_nothing_is_left_behind() -> None:
    module, _ = build_backbone("test_vit", pretrained=False, image_size=64)
    module.get_submodule("blocks.2").eval()
    modes, hooks = [m.training for m in module.modules()], [len(m._forward_hooks) for m in module.modules()]
    state = {name: value.clone() for name, value in module.state_dict().items()}
    with torch.inference_mode():
        find_target_layer(module, 64)
    assert [m.training for m in module.modules()] == modes
    assert [len(m._forward_hooks) for m in module.modules()] == hooks
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())
