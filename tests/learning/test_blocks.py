"""Tokens, keys and values that are lent to a transformer: by hand, in each family, and what cannot take them."""

from typing import Any

import pytest
import torch
from tiny_network import tiny_network
from tiny_transformer import SIDE, D, by_hand, tiny_transformer
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom
from torch.overrides import TorchFunctionMode

from lightning_vision.errors import ConfigError
from lightning_vision.learning.blocks import (
    blocks_of,
    check_takes_keys,
    check_takes_tokens,
    keys_beside,
    tokens_before,
)

# Rotary positions, registers, normalised keys, mean pooling and sizes that change: each belongs to one of these.
FAMILIES: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {},
    "deit3_small_patch16_224": {},
    "vit_base_patch32_clip_224": {},
    "vit_base_patch16_siglip_224": {},
    "vit_small_patch14_reg4_dinov2": {"dynamic_img_size": True},
    "vit_small_patch16_dinov3": {},
    "eva02_tiny_patch14_224": {},
}
IMAGE = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3)).double()


class Watched(TorchFunctionMode):
    """Writes down the keys and values of each attention."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[Tensor, Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            self.found.append((args[1], args[2]))
        return func(*args, **(kwargs or {}))


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(4)).double()


def test_tokens_stand_behind_the_class_token() -> None:
    network, given = tiny_transformer(), drawn(3, 2, D).requires_grad_()
    with tokens_before(network.backbone, given) as tokens:
        found, plain = network.tokens(IMAGE), network.features(IMAGE)
    expected = by_hand(network, IMAGE, tokens=given)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(tokens.mean(found), expected[:, 1:3].mean(dim=1), rtol=0, atol=1e-12)
    torch.testing.assert_close(plain, expected[:, 0], rtol=0, atol=1e-12)
    mine, hand = (torch.autograd.grad(each.square().sum(), given)[0] for each in (found, expected))
    torch.testing.assert_close(mine, hand, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("deep", [True, False])
def test_tokens_of_grafts_stand_beside_given_ones_and_are_cut_out_again(deep: bool) -> None:
    """The attention of a plain ViT knows no places, so by hand all further tokens stand at the end."""
    network, given = tiny_transformer(3), drawn(3, 2, D)
    parts = network.graft("tokens", "p", length=3, deep=deep)
    for number, vectors in enumerate(network.grafted("p", "vectors")):
        vectors.data = drawn(3, D) + number
    vit: Any = network.backbone
    with torch.no_grad(), network.only():
        x = torch.cat([vit.cls_token.expand(3, -1, -1), vit.patch_embed(IMAGE)], dim=1) + vit.pos_embed
        x = torch.cat([x[:, :1], given, x[:, 1:]], dim=1)
        for number, block in enumerate(vit.blocks):
            own = parts[f"blocks.{number}"].get_parameter("vectors") if deep or not number else None
            x = block(x if own is None else torch.cat([x, own.expand(3, -1, -1)], dim=1))
            x = x[:, :7] if deep or number == 2 else x
        expected = vit.norm(x)
    with torch.no_grad(), tokens_before(vit, given) as tokens:
        found = network.tokens(IMAGE)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(tokens.mean(found), expected[:, 1:3].mean(dim=1), rtol=0, atol=1e-12)
    assert network.tokens(IMAGE).shape[1] == 5


def test_rotary_positions_leave_out_both_also_after_a_pass_that_failed() -> None:
    network = tiny_transformer(2, "eva02_tiny_patch14_224", img_size=28, patch_size=14)
    network.graft("tokens", "p", length=3)
    block: Any = blocks_of(network.backbone)[1]
    image, attention, seen = drawn(2, 3, 28, 28), block.attn, list[int]()
    prefix = attention.num_prefix_tokens
    block.norm1.register_forward_hook(lambda *_: seen.append(attention.num_prefix_tokens))
    stop = block.mlp.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), tokens_before(network.backbone, drawn(2, 2, D)):
        network.features(image)
    stop.remove()
    network.features(image)
    assert seen == [prefix + 5, prefix + 3] and attention.num_prefix_tokens == prefix


def test_keys_and_values_stand_before_those_of_the_tokens() -> None:
    network = tiny_transformer()
    prefixes = {0: (drawn(3, 2, D), drawn(3, 2, D) + 1), 3: (drawn(3, 4, D) - 1, drawn(3, 4, D).requires_grad_())}
    with keys_beside(network.backbone, prefixes):
        found = network.tokens(IMAGE)
    expected = by_hand(network, IMAGE, prefixes=prefixes)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    mine, hand = (torch.autograd.grad(each.square().sum(), prefixes[3][1])[0] for each in (found, expected))
    torch.testing.assert_close(mine, hand, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(network.tokens(IMAGE), by_hand(network, IMAGE), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_takes_both(name: str) -> None:
    network = tiny_transformer(2, name, **FAMILIES[name])
    backbone, state = network.backbone, str(vars(network.backbone))
    check_takes_tokens(network, "Mine")
    check_takes_keys(network, "Mine", 2)
    plain, given = network.features(IMAGE), drawn(3, 3, D)
    first = int(backbone.num_prefix_tokens)  # type: ignore[arg-type]
    with tokens_before(backbone, given):
        one, again = network.tokens(IMAGE), network.tokens(IMAGE)
    with tokens_before(backbone, given.flip(1)):
        other = network.tokens(IMAGE)
    assert torch.equal(one, again)
    other[:, first : first + 3] = other[:, first : first + 3].flip(1)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-10, msg="the place of a given token does not matter")
    assert not torch.allclose(one[:, first + 3 :], backbone.forward_features(IMAGE)[:, first:])  # type: ignore[operator]
    # Attention to all tokens twice is attention to all tokens.
    with Watched() as watched:
        network.features(IMAGE)
    twice = {
        n: (k.transpose(1, 2).flatten(2), v.transpose(1, 2).flatten(2)) for n, (k, v) in enumerate(watched.found[:2])
    }
    with keys_beside(backbone, twice):
        torch.testing.assert_close(network.features(IMAGE), plain, rtol=0, atol=1e-10)
    assert torch.equal(network.features(IMAGE), plain) and str(vars(backbone)) == state


def test_a_bias_of_positions_is_0_for_given_keys() -> None:
    network = tiny_transformer(2, "beit_base_patch16_224")
    check_takes_keys(network, "Mine", 2)
    with torch.no_grad(), keys_beside(network.backbone, {0: (drawn(3, 2, D), drawn(3, 2, D))}):
        assert not torch.allclose(network.features(IMAGE), network.backbone(IMAGE) * 0)
    with pytest.raises(
        ConfigError, match="Mine cannot use beit_base_patch16_224: its attention has a bias for each pair"
    ):
        check_takes_tokens(network, "Mine")


def test_bf16() -> None:
    network = tiny_transformer(2).float()
    given, image = drawn(3, 2, D).float(), IMAGE.float()
    with torch.autocast("cpu", torch.bfloat16), keys_beside(network.backbone, {0: (given, given)}):
        half = network.features(image)
    with keys_beside(network.backbone, {0: (given, given)}):
        torch.testing.assert_close(half.float(), network.features(image), rtol=0.1, atol=0.1)


class Convolution(nn.Module):
    """A block that has no attention to extend."""

    def __init__(self) -> None:
        super().__init__()
        self.attn, self.norm2, self.mlp = nn.Conv2d(3, 3, 1), nn.Identity(), nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        return torch.as_tensor(self.attn(image)).mean(dim=(2, 3))


def test_what_cannot_is_refused_in_words() -> None:
    vit, plain = tiny_transformer(2), tiny_network()
    with pytest.raises(
        ConfigError, match="Mine cannot use vit_tiny_patch16_224: it has 2 blocks, and prompts for the first 5"
    ):
        check_takes_keys(vit, "Mine", 5)
    for check in (check_takes_tokens, lambda network, name: check_takes_keys(network, name, 1)):
        with pytest.raises(
            ConfigError, match=r"Mine cannot use none: it is no transformer with blocks of attention\. Choose a ViT"
        ):
            check(plain, "Mine")
    vit.compiled = True
    with pytest.raises(
        ConfigError, match=r"Mine changes single forward passes of the backbone, which model\.compile cannot"
    ):
        check_takes_tokens(vit, "Mine")
    module = Convolution()
    assert blocks_of(nn.Sequential(module)) == [module]
    with (
        keys_beside(nn.Sequential(module), {0: (drawn(1, 1, 3), drawn(1, 1, 3))}),
        pytest.raises(ConfigError, match="calls torch's scaled_dot_product_attention once, found 0 calls"),
    ):
        module(IMAGE.float())
    with keys_beside(tiny_transformer(1).backbone, {}):
        pass
    network = tiny_transformer(1)
    with (
        keys_beside(network.backbone, {0: (drawn(2, 1, D), drawn(2, 1, D))}),
        pytest.raises(ConfigError, match="over all tokens of 2 images"),
    ):
        network.features(IMAGE)
