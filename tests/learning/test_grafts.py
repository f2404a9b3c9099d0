"""Grafts: small modules in a backbone, by hand, as modules, in checkpoints, and what they leave alone."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, Self

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.errors import CheckpointError, ConfigError
from lightning_vision.learning import grafts
from lightning_vision.learning.backbones import BackboneFacts
from lightning_vision.learning.checkpoint_identity import replay_grafts
from lightning_vision.learning.graft_kinds import Adapter
from lightning_vision.learning.graft_places import Graft, set_over
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import set_modes

HALF = (0.5, 0.5, 0.5)
IMAGE = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(5))
VIT: dict[str, Any] = {"img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}
ROTARY: dict[str, Any] = {**VIT, "embed_dim": 16, "num_classes": 0, "use_rot_pos_emb": True}
SWIN: dict[str, Any] = {"img_size": 32, "patch_size": 4, "embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2)}
# Of each family of timm that reads its weights or positions in a way of its own, the smallest.
BUILD: dict[str, Callable[[], nn.Module]] = {
    "vit": lambda: timm.models.VisionTransformer(**VIT, num_classes=0),
    "dinov2": lambda: timm.models.VisionTransformer(**VIT, num_classes=0, reg_tokens=2, init_values=0.1),
    "eva": lambda: timm.models.Eva(**ROTARY, num_reg_tokens=1),
    "eva02": lambda: timm.models.Eva(**ROTARY, qkv_fused=False, swiglu_mlp=True),
    "beit": lambda: timm.models.Beit(**VIT, num_classes=0, use_rel_pos_bias=True),
    "swin": lambda: timm.models.SwinTransformer(**SWIN, window_size=2, num_classes=0),
    "swinv2": lambda: timm.models.SwinTransformerV2(**SWIN, window_size=2, num_classes=0),
    "resnet": lambda: timm.create_model("test_resnet", num_classes=0),
    "convnext": lambda: timm.create_model("test_convnext", num_classes=0),
}
WITHOUT_BLOCKS, WITHOUT_ROOM = ("resnet", "convnext"), ("beit", "swin", "swinv2")
OPTIONS: dict[str, dict[str, Any]] = {
    "adapter": {"width": 3},
    "low_rank": {"rank": 2},
    "scale_shift": {},
    "tokens": {"length": 2},
}


def network(family: str = "vit", seed: int = 0) -> Network:
    torch.manual_seed(seed)
    backbone = BUILD[family]()
    for parameter in backbone.parameters():  # some start at 0, and would hide what is before them
        parameter.data += 0.05 * torch.randn(parameter.shape)
    d = backbone.eval()(image_for(family)).shape[1]
    return Network(backbone, BackboneFacts(family, d, HALF, HALF), 2).eval()


def image_for(family: str) -> Tensor:
    return F.interpolate(IMAGE, size=(32, 32)) if family in ("swin", "swinv2", "convnext") else IMAGE


def trained(net: Network, key: str, size: float = 0.3) -> None:
    """Other values than those at the start."""
    for number, parameter in enumerate(net.grafted(key)):
        drawn = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
        parameter.data += size * drawn


def block_adapter(net: Network, number: int = 0) -> Adapter:
    found = net.graft("adapter", "a", width=3)[f"blocks.{number}"]
    assert isinstance(found, Adapter)
    return found


@torch.no_grad()
@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("family", BUILD)
def test_each_family_of_backbones_takes_what_it_can(family: str, kind: str) -> None:
    net, image = network(family), image_for(family)
    before, names = net.features(image), list(net.state_dict())
    if (kind in ("adapter", "tokens") and family in WITHOUT_BLOCKS) or (kind == "tokens" and family in WITHOUT_ROOM):
        with pytest.raises(ConfigError, match=r"no transformer blocks|cannot take further tokens"):
            net.graft(kind, "a", **OPTIONS[kind])
        assert list(net.state_dict()) == names and not net.grafts
        return
    assert net.graft(kind, "a", **OPTIONS[kind])
    if kind != "tokens":  # tokens of 0 take part in the attention
        assert torch.equal(net.features(image), before), "an untrained graft changes nothing"
    trained(net, "a")
    after = net.features(image)
    assert not torch.equal(after, before), "it reaches the features"
    with net.only():
        assert torch.equal(net.features(image), before)
    twin = copy.deepcopy(net)
    assert torch.equal(twin.features(image), after)
    for parameter in twin.grafted("a"):
        parameter.data.zero_()
    assert torch.equal(net.features(image), after), "a copy has grafts of its own"
    if kind in ("low_rank", "scale_shift"):
        merged = copy.deepcopy(net)
        merged.merge("a")
        assert torch.allclose(merged.features(image), after, rtol=1e-4, atol=1e-5)
        assert list(merged.state_dict()) == names and not merged.grafts
    net.take_out("a")
    assert torch.equal(net.features(image), before) and list(net.state_dict()) == names


def test_an_adapter_is_a_bottleneck_beside_the_mlp() -> None:
    net = network()
    graft = block_adapter(net)
    trained(net, "a")
    block: Any = net.backbone.get_submodule("blocks.0")
    x = torch.randn(2, 5, 12)
    stream = x + block.attn(block.norm1(x))
    down, up = graft.down, graft.up
    added = 0.1 * ((stream @ down.weight.T + down.bias).clamp(min=0) @ up.weight.T + up.bias)
    with net.only():
        expected = block(x) + added
    assert torch.allclose(block(x), expected, atol=1e-6)


def test_deep_and_shallow_tokens_are_those_of_the_paper() -> None:
    for deep in (True, False):
        net = network()
        parts = net.graft("tokens", "p", length=2, deep=deep)
        trained(net, "p")
        vit: Any = net.backbone
        with net.only():
            x = torch.cat([vit.cls_token.expand(3, -1, -1), vit.patch_embed(IMAGE)], dim=1) + vit.pos_embed
            for number, block in enumerate(vit.blocks):
                prompt: Any = parts[f"blocks.{number}"].get_parameter("vectors") if deep or not number else None
                if prompt is not None:  # behind all others: the place does not matter
                    x = torch.cat([x, prompt.expand(3, -1, -1)], dim=1)
                x = block(x)
                if deep or number == 1:
                    x = x[:, :-2]
            expected = vit.norm(x)[:, 0]
        assert torch.allclose(net.features(IMAGE), expected, atol=1e-6)


def test_deep_and_shallow_tokens_go_together_in_either_order() -> None:
    found = []
    for keys in (("deep", "shallow"), ("shallow", "deep")):
        net = network()
        for key in keys:
            net.graft("tokens", key, length=2 + len(key), deep=key == "deep")
            trained(net, key)
        found.append(net.tokens(IMAGE))
        assert found[-1].shape[1] == 5
    assert torch.allclose(found[0], found[1], atol=1e-6)


def test_tokens_raise_the_number_that_rotary_positions_leave_out_and_give_it_back() -> None:
    net = network("eva")
    block: Any = net.backbone.get_submodule("blocks.1")
    prefix, seen = block.attn.num_prefix_tokens, list[int]()
    net.graft("tokens", "p", length=3)
    block.norm1.register_forward_hook(lambda *_: seen.append(block.attn.num_prefix_tokens))
    net.features(IMAGE)
    with net.only():
        net.features(IMAGE)
    assert seen == [prefix + 3, prefix] and block.attn.num_prefix_tokens == prefix
    stop = block.mlp.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        net.features(IMAGE)
    stop.remove()
    net.features(IMAGE)
    assert seen[-1] == prefix + 3 and block.attn.num_prefix_tokens == prefix


def test_one_step_of_low_rank_by_formula() -> None:
    """W' = W + s B A on v of a fused layer: dL/dB = s G A^T, dL/dA = s B^T G, with G = dL/dW' of these rows."""
    net = network().double()
    (graft, *_) = net.graft("low_rank", "l", rank=2, parts="v", scale=0.5).values()
    trained(net, "l")
    a, b = graft.get_parameter("a"), graft.get_parameter("b")
    layer: Any = net.backbone.get_submodule("blocks.0.attn.qkv")
    w = layer.weight.detach().clone()
    plain = copy.deepcopy(net)
    plain.merge("l")
    net.features(IMAGE.double()).square().sum().backward()  # type: ignore[no-untyped-call]
    plain.features(IMAGE.double()).square().sum().backward()  # type: ignore[no-untyped-call]
    own: Any = plain.backbone.get_submodule("blocks.0.attn.qkv")
    assert torch.allclose(own.weight, w, atol=1e-14)
    g = own.weight.grad[24:]
    assert a.grad is not None and b.grad is not None
    assert torch.allclose(b.grad[0], 0.5 * g @ a[0].T, atol=1e-12)
    assert torch.allclose(a.grad[0], 0.5 * b[0].T @ g, atol=1e-12)
    new_a, new_b = a[0] - 0.1 * a.grad[0], b[0] - 0.1 * b.grad[0]
    torch.optim.SGD([a, b], lr=0.1).step()
    original = layer.grafts.weight.original
    assert torch.allclose(layer.weight[24:], original[24:] + 0.5 * new_b @ new_a, atol=1e-12)
    assert torch.equal(layer.weight[:24], original[:24]), "q and k stay"


def test_a_scale_and_a_shift_are_behind_the_layer() -> None:
    net = network()
    parts = net.graft("scale_shift", "s")
    trained(net, "s")
    layer: Any = net.backbone.get_submodule("blocks.0.mlp.fc1")
    held, x = layer.grafts, torch.randn(4, 12)
    scale, shift = parts["blocks.0.mlp.fc1"], held.bias["s"].shift
    y = F.linear(x, held.weight.original, held.bias.original)
    gains: Any = held.weight["s"].scale
    assert torch.allclose(layer(x), y * gains + shift, atol=1e-6) and scale in (held.weight["s"], held.bias["s"])
    twice = [id(parameter) for parameter in net.grafted("s")]
    assert len(set(twice)) == len(twice), "the scale is listed once"


def test_a_batch_norm_below_a_graft_keeps_its_running_statistics() -> None:
    net = network("resnet")
    net.graft("scale_shift", "s")
    net.requires_grad_(False)
    for parameter in net.grafted("s"):
        parameter.requires_grad_(True)
    before = {name: value.clone() for name, value in net.backbone.named_buffers()}
    set_modes(net, True)
    net.features(IMAGE).sum().backward()  # type: ignore[no-untyped-call]
    assert all(torch.equal(value, before[name]) for name, value in net.backbone.named_buffers())
    net.backbone.requires_grad_(True)
    set_modes(net, True)
    net.features(IMAGE)
    assert not all(torch.equal(value, before[name]) for name, value in net.backbone.named_buffers())


def test_several_grafts_lie_over_each_other_and_merge_in_their_order() -> None:
    net = network()
    for kind in ("scale_shift", "low_rank", "adapter"):
        net.graft(kind, kind, **OPTIONS[kind])
        trained(net, kind)
    assert net.grafts[1] == {
        "kind": "low_rank",
        "key": "low_rank",
        "options": {"rank": 2, "parts": "qv", "scale": 1.0, "layers": None},
    }
    assert all("grafts" not in place for place in net.graft("low_rank", "low_rank", **OPTIONS["low_rank"]))
    after = net.features(IMAGE)
    with pytest.raises(
        ConfigError, match=r"The graft 'scale_shift' was set before 'low_rank' .* Merge 'scale_shift' first"
    ):
        net.merge("low_rank")
    with pytest.raises(ConfigError, match=r"'adapter' .* beside the backbone's weights, so it cannot be merged"):
        net.merge("adapter")
    net.merge("scale_shift")
    net.merge("low_rank")
    assert torch.allclose(net.features(IMAGE), after, atol=1e-5)
    with net.only("adapter"):
        assert torch.allclose(net.features(IMAGE), after, atol=1e-5)


def test_the_original_is_remembered_without_parameters_and_in_evaluation_mode() -> None:
    net = network("resnet")
    before = net.features(IMAGE).detach()
    count = len(list(net.parameters()))
    net.keep_original()
    net.keep_original()
    assert len(list(net.parameters())) == count
    for parameter in net.backbone.parameters():
        parameter.data *= 1.1
    net.train()
    with torch.enable_grad():
        net.features(IMAGE)
        found = net.original_features(IMAGE)
    assert torch.equal(found, before) and not found.requires_grad
    assert torch.equal(network("resnet").original_features(IMAGE), before)
    grafted = network("vit")
    grafted.graft("tokens", "p")
    assert torch.equal(grafted.original_features(IMAGE), network("vit").features(IMAGE))
    grafted.keep_original()
    assert torch.equal(grafted.original_features(IMAGE), network("vit").features(IMAGE))
    kept = sum(value.nbytes for name, value in grafted.state_dict().items() if name.startswith("original."))
    tokens = sum(parameter.nbytes for parameter in grafted.grafted("p"))
    assert sum(value.nbytes for value in grafted.beside_backbone().values()) == kept + tokens


def test_a_network_gets_the_grafts_of_a_checkpoint_in_their_order() -> None:
    """Twenty of them, twice: onto none, and onto others."""
    net = network()
    for number in range(20):
        kind = list(OPTIONS)[number % 4]
        net.graft(kind, str(number), **OPTIONS[kind])
        trained(net, str(number), 0.05)
    net.keep_original()
    identity = {"grafts": copy.deepcopy(net.grafts), "keeps_original": True}
    fresh, other = network(seed=1), network(seed=2)
    other.graft("tokens", "0", length=1)
    other.graft("adapter", "x")
    for each in (fresh, other, net):
        replay_grafts(each, identity)
        each.load_state_dict(net.state_dict())
        assert list(each.state_dict()) == list(net.state_dict())
        assert torch.equal(each.features(IMAGE), net.features(IMAGE))
    replay_grafts(other, {})
    assert list(other.state_dict()) == list(network().state_dict()) and other.original is None


class Doubled(Graft):
    """A kind of a package."""

    @classmethod
    def set_into(cls, backbone: nn.Module, key: str, layer: str = "norm") -> Mapping[str, Self]:
        made = cls()
        set_over(backbone.get_submodule(layer), "weight", key, made)
        return {layer: made}

    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def test_a_package_adds_a_kind_and_a_checkpoint_with_it_needs_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grafts, "_KINDS", dict(grafts._KINDS))
    identity = {"grafts": [{"kind": "doubled", "key": "d", "options": {"layer": "norm"}}]}
    with pytest.raises(
        CheckpointError,
        match=r"cannot be set here: Unknown kind of graft 'doubled': expected one of adapter, .*register_graft",
    ):
        replay_grafts(network(), identity)
    grafts.register_graft("doubled", Doubled)
    net = network()
    before = net.backbone.get_parameter("norm.weight").clone()
    replay_grafts(net, identity)
    assert torch.equal(net.backbone.get_submodule("norm").weight, 2 * before)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'adapter' is Adapter already"):
        grafts.register_graft("adapter", Doubled)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("adaptor", {}, r"Unknown kind of graft 'adaptor': expected one of adapter, low_rank, .* Similar: adapter"),
        ("adapter", {"size": 3}, r"adapter has no option 'size'; it has 'width', 'scale', 'dropout'"),
        ("adapter", {"width": 0}, r"adapter: expected width >= 1, a finite scale and 0 <= dropout < 1; found 0, 0\.1, 0\.1"),
        ("tokens", {"length": 2.5}, r"tokens: expected length >= 1, found 2\.5"),
        ("low_rank", {"rank": 13}, r"rank 13 is above the width of the layer blocks\.0\.attn\.qkv, 36 x 12: expected at most 12"),
        ("low_rank", {"parts": "qw"}, r"parts out of q, k and v; found 8, 1\.0, 'qw'"),
        ("low_rank", {"layers": ["blocks.0.attn.qvk"]}, r"has no layer 'blocks\.0\.attn\.qvk'\. Similar names: blocks\.0\.attn\.qkv"),
        ("low_rank", {"layers": ["blocks.0.norm1"]}, r"blocks\.0\.norm1 is a LayerNorm; expected a linear layer or a 1 x 1"),
        ("low_rank", {"layers": 3}, r"low_rank cannot be set with the options .*: 'int' object is not iterable"),
        ("scale_shift", {"scale": 2}, r"scale_shift has no option 'scale'; it has none"),
    ],
)  # fmt: skip
def test_what_cannot_be_grafted_is_refused_and_leaves_nothing(kind: str, options: dict[str, Any], said: str) -> None:
    net = network()
    names = list(net.state_dict())
    with pytest.raises(ConfigError, match=said):
        net.graft(kind, "a", **options)
    assert list(net.state_dict()) == names and not net.grafts


def test_keys_are_checked() -> None:
    net = network()
    for key in ("a.b", "", "train", "original", "x" * 65):
        with pytest.raises(ConfigError, match="The key of a graft: expected 1 to 64 letters"):
            net.graft("adapter", key)
    with pytest.raises(ConfigError, match="There is no graft 'b': expected one of none, for none was set"):
        net.grafted("b")
    net.graft("adapter", "a")
    net.graft("adapter", "a")
    assert len(net.grafts) == 1, "an existing key is left alone"
    with pytest.raises(ConfigError, match=r"The graft 'a' is adapter with .* already; found tokens with"):
        net.graft("tokens", "a")
    for use in (net.merge, net.take_out, lambda key: net.only(key).__enter__()):
        with pytest.raises(ConfigError, match="There is no graft 'b': expected one of 'a'"):
            use("b")
    assert [parameter.shape for parameter in net.grafted("a", "down.bias")] == [(64,), (64,)]


def test_a_check_announces_what_will_be_set() -> None:
    net = network()
    names = list(net.state_dict())
    net.check_graft("adapter", "a", width=3)
    net.check_graft("adapter", "a", width=3)
    assert list(net.announced_grafts) == ["a"] and not net.grafts and list(net.state_dict()) == names
    with pytest.raises(ConfigError, match=r"The graft 'a' is adapter with .* already; found tokens with"):
        net.check_graft("tokens", "a")
    net.graft("adapter", "a", width=3)
    net.take_out("a")
    net.check_graft("tokens", "a")


def test_what_could_not_be_merged_is_refused_when_it_is_checked() -> None:
    net = network()
    net.check_graft("scale_shift", "s")
    net.check_graft("low_rank", "l", rank=2)
    with pytest.raises(
        ConfigError, match=r"'l' could not be merged after it was trained\. The graft 's' was set before 'l'"
    ):
        net.check_graft("low_rank", "l", to_merge=True, rank=2)
    assert not net.grafts and list(net.state_dict()) == list(network().state_dict())
    network().check_graft("low_rank", "l", to_merge=True, rank=2)


def test_a_compiled_backbone_takes_none() -> None:
    net = network()
    net.backbone._compiled_call_impl = net.backbone.forward  # what Module.compile sets
    with pytest.raises(ConfigError, match=r"model.compile is true, and a compiled backbone cannot take a graft"):
        net.graft("adapter", "a")


def test_switches_are_restored_after_an_error() -> None:
    net = network()
    net.graft("adapter", "a")
    net.graft("low_rank", "b")
    with pytest.raises(RuntimeError, match="stop"), net.only("a"):
        raise RuntimeError("stop")
    assert all(
        part.active
        for key in "ab"
        for part in net.graft(*{"a": ("adapter", "a"), "b": ("low_rank", "b")}[key]).values()
    )
