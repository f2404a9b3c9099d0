"""The blocks of a transformer, and tensors that are lent to one of its forward passes: tokens, keys and values.

A block is a module with ``attn``, ``norm2`` and ``mlp``, as timm's ViT, DeiT, CLIP, SigLIP, DINOv2, DINOv3, EVA, BEiT and Swin have.
The backbone itself is not changed: what is lent is taken back when the ``with`` statement ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom
from torch.overrides import TorchFunctionMode

from lightning_vision.errors import ConfigError
from lightning_vision.learning.graft_places import named_blocks
from lightning_vision.learning.network import Network

SIDE_IN_PATCHES = 2
"""Side of the image on which a backbone of any image size is tried."""


class GivenTokens:
    """Tokens that a forward pass was given.

    Args:
        backbone: The backbone.
        first: Position of the first of them.
        count: Number of them, L.
    """

    def __init__(self, backbone: nn.Module, first: int, count: int) -> None:
        self.backbone, self.first, self.count = backbone, first, count

    def mean(self, tokens: Tensor) -> Tensor:
        """The mean output (N, D) at the given tokens, of the backbone's output tokens (N, P + L + T, D), normalised as its features."""
        mean = tokens[:, self.first : self.first + self.count].mean(dim=1)
        norm: nn.Module = getattr(self.backbone, "fc_norm", nn.Identity())
        result: Tensor = norm(mean)
        return result


def blocks_of(backbone: nn.Module) -> list[nn.Module]:
    """The blocks of a transformer in the order of computation; empty if there are none."""
    return list(named_blocks(backbone).values())


@contextmanager
def tokens_before(backbone: nn.Module, tokens: Tensor) -> Iterator[GivenTokens]:
    """Put tokens before the first block, behind the class and register tokens, while the statement lasts.

    The number of prefix tokens is raised from the first block on, so rotary positions and mean pooling leave the given tokens out.
    Tokens of grafts stand before the given ones, and are gone where the blocks end.

    Args:
        backbone: A transformer; see ``check_takes_tokens``.
        tokens: (N, L, D) for a batch of N images, or (1, L, D) for any.
    """
    owner: Any = backbone
    blocks, count, first = blocks_of(backbone), tokens.shape[1], owner.num_prefix_tokens
    attentions: list[Any] = [block.attn for block in blocks if hasattr(block.attn, "num_prefix_tokens")]

    def begin(_: nn.Module, given: Any) -> None:
        owner.num_prefix_tokens = first  # position embeddings have none for the given tokens

    def insert(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        x, *others = given
        own = tokens.to(x.dtype).expand(len(x), -1, -1)
        owner.num_prefix_tokens = first + count
        return torch.cat([x[:, :first], own, x[:, first:]], dim=1), *others

    with ExitStack() as stack:
        patches: Any = backbone.patch_embed
        stack.callback(setattr, backbone, "num_prefix_tokens", first)
        stack.callback(patches.register_forward_pre_hook(begin).remove)
        # Before the hooks of grafts, which put their tokens directly behind the prefix, and take them away there.
        stack.callback(blocks[0].register_forward_pre_hook(insert, prepend=True).remove)
        for attention in attentions:
            _raise_prefix(attention, count)
            stack.callback(_raise_prefix, attention, -count)  # grafts change the number too
        yield GivenTokens(backbone, first, count)


def _raise_prefix(attention: Any, count: int) -> None:
    attention.num_prefix_tokens += count


@contextmanager
def keys_beside(backbone: nn.Module, prefixes: Mapping[int, tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Put keys and values before those of the tokens in the attention of some blocks, while the statement lasts.

    Args:
        backbone: A transformer; see ``check_takes_keys``.
        prefixes: Keys (N, L, D) and values (N, L, D) by the block's number, for a batch of N images.

    Raises:
        ConfigError: An attention does not call torch's ``scaled_dot_product_attention`` once in each pass.
    """
    blocks = blocks_of(backbone)
    with ExitStack() as stack:
        for number, (keys, values) in prefixes.items():
            attention = blocks[number].attn
            forward = attention.forward  # type: ignore[union-attr]
            attention.forward = partial(_attend, forward, _Extended(keys, values))  # type: ignore[union-attr]
            stack.callback(delattr, attention, "forward")
        yield


def _attend(forward: Any, mode: _Extended, *args: Any, **options: Any) -> Any:
    """An attention's own forward pass, in which a mode extends keys and values."""
    mode.calls = 0
    with mode:
        result = forward(*args, **options)
    if mode.calls != 1:
        raise ConfigError(
            f"Expected an attention that calls torch's scaled_dot_product_attention once, found {mode.calls} calls. Choose "
            "another model.backbone, and do not switch off timm's fused attention (TIMM_FUSED_ATTN)."
        )
    return result


class _Extended(TorchFunctionMode):
    """Extends keys and values where attention is computed, and counts how often."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.keys, self.values, self.calls = keys, values, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        self.calls += 1
        query, key, value = args[:3]
        more = dict(zip(("attn_mask", "dropout_p", "is_causal"), args[3:], strict=False)) | kwargs
        if more.get("attn_mask") is not None:  # a bias of positions, which what is given does not have
            mask = more["attn_mask"]
            more["attn_mask"] = F.pad(mask, (self.keys.shape[1], 0), value=mask.dtype == torch.bool)
        key, value = _before(self.keys, key), _before(self.values, value)
        return func(query, key, value, **more)


def _before(given: Tensor, own: Tensor) -> Tensor:
    """Given keys or values (N, L, D) before an attention's own (N, H, T, D / H).

    Raises:
        ConfigError: Their shapes do not fit together.
    """
    n, heads, _, width = own.shape
    if given.shape[0] != n or given.shape[2] != heads * width:
        raise ConfigError(
            f"Expected an attention over all tokens of {given.shape[0]} images with {given.shape[2]} numbers each, found one of "
            f"{n} x {heads} heads with {width} numbers, such as in windows. Choose a ViT as model.backbone."
        )
    return torch.cat([given.view(n, -1, heads, width).transpose(1, 2).to(own.dtype), own], dim=2)


def check_takes_tokens(network: Network, name: str) -> None:
    """Refuse a backbone that cannot be given tokens, by trying it.

    Args:
        network: Has the backbone.
        name: Who needs it, for the message.

    Raises:
        ConfigError: It cannot.
    """
    backbone = _transformer(network, name)
    if any(getattr(block.attn, "relative_position_bias_table", None) is not None for block in blocks_of(backbone)):
        raise _refused(network, name, "its attention has a bias for each pair of its own tokens, and none for others")
    d = network.facts.num_features

    def tried(image: Tensor) -> None:
        plain = backbone.forward_features(image)  # type: ignore[operator]
        with tokens_before(backbone, image.new_zeros(1, 3, d)):
            longer = backbone.forward_features(image)  # type: ignore[operator]
        if longer.shape[1] != plain.shape[1] + 3:
            raise _refused(network, name, "tokens that are put before its first block do not reach its end")

    _try(network, name, tried)


def check_takes_keys(network: Network, name: str, blocks: int) -> None:
    """Refuse a backbone that cannot be given keys and values, by trying it.

    Args:
        network: Has the backbone.
        name: Who needs it, for the message.
        blocks: The first so many blocks are given some.

    Raises:
        ConfigError: It cannot.
    """
    backbone = _transformer(network, name)
    found = len(blocks_of(backbone))
    if found < blocks:
        raise _refused(network, name, f"it has {found} blocks, and prompts for the first {blocks} were asked for")
    d = network.facts.num_features

    def tried(image: Tensor) -> None:
        given = image.new_zeros(len(image), 2, d)
        with keys_beside(backbone, dict.fromkeys(range(blocks), (given, given))):
            backbone(image)

    _try(network, name, tried)


def _transformer(network: Network, name: str) -> nn.Module:
    """The backbone, if it has blocks.

    Raises:
        ConfigError: It has none, or it is compiled.
    """
    backbone = network.backbone
    if not blocks_of(backbone) or not hasattr(backbone, "patch_embed"):
        raise _refused(network, name, "it is no transformer with blocks of attention")
    if not (isinstance(getattr(backbone, "num_prefix_tokens", None), int) and hasattr(backbone, "forward_features")):
        raise _refused(network, name, "its attention is not over one sequence of all tokens")
    if network.compiled:
        raise ConfigError(
            f"{name} changes single forward passes of the backbone, which model.compile cannot. Leave it out."
        )
    return backbone


def _try(network: Network, name: str, tried: Any) -> None:
    """Call a function with two images, in evaluation mode."""
    backbone = network.backbone
    patches: Any = backbone.patch_embed
    size = patches.img_size or tuple(SIDE_IN_PATCHES * side for side in patches.patch_size)
    modes = [(module, module.training) for module in backbone.modules()]
    backbone.eval()
    try:
        with torch.no_grad():
            tried(torch.zeros(2, 3, *size, device=network.mean.device, dtype=network.mean.dtype))
    except (RuntimeError, ValueError, TypeError, AttributeError, AssertionError, ConfigError) as error:
        raise _refused(network, name, " ".join(str(error).split())[:200]) from error
    finally:
        for module, mode in modes:
            module.training = mode


def _refused(network: Network, name: str, reason: str) -> ConfigError:
    return ConfigError(
        f"{name} cannot use {network.facts.name}: {reason}. Choose a ViT as model.backbone, such as "
        "vit_base_patch16_224.augreg_in21k."
    )
