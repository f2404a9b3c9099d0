"""The target layer of a backbone, found by measuring the shapes of outputs and their effect on the features."""

from __future__ import annotations

import math
from collections.abc import Hashable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lightning_vision.errors import ConfigError
from lightning_vision.learning.graft_places import added_tokens
from lightning_vision.terminal.wording import near

MOST_PREFIX_TOKENS = 8
"""Class, distillation and register tokens before the patch tokens."""
_FOUND: WeakKeyDictionary[nn.Module, dict[Hashable, TargetLayer]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Layout:
    """The layout of a layer's output: (N, C, h, w), (N, h, w, C), or (N, prefix + h * w, C)."""

    kind: Literal["channels first", "channels last", "tokens"]
    channels: int
    side: int
    """h and w, which are equal because images are square."""
    prefix: int = 0
    """Tokens before the patch tokens."""

    def to_map(self, output: Tensor) -> Tensor:
        """The output as (N, C, h, w).

        Raises:
            ConfigError: The shape differs from the measured one.
        """
        n, c, side = len(output), self.channels, self.side
        if self.kind == "channels first":
            expected: tuple[int, ...] = (n, c, side, side)
        elif self.kind == "channels last":
            expected = (n, side, side, c)
        else:
            expected = (n, self.prefix + side * side, c)
        if tuple(output.shape) != expected:
            raise ConfigError(
                f"The target layer returned {tuple(output.shape)} instead of {expected}: its output shape depends on the image. "
                "Choose another layer."
            )
        if self.kind == "channels last":
            return output.permute(0, 3, 1, 2)
        if self.kind == "tokens":
            return output[:, self.prefix :].transpose(1, 2).reshape(n, c, side, side)
        return output


@dataclass(frozen=True)
class TargetLayer:
    """The target layer of a backbone."""

    name: str
    """Name within the backbone."""
    layout: Layout

    def __str__(self) -> str:
        return f"{self.name} ({self.layout.side} x {self.layout.side} positions)"


def find_target_layer(backbone: nn.Module, image_size: int, layer: str | None = None) -> TargetLayer:
    """The last layer whose output has spatial positions that affect the features.

    Noise is passed through the backbone. The shape of each layer's output shows whether it is a map, and the gradient of
    the features shows whether its positions have an effect. In a ViT that uses its class token, patches after the last
    attention have no effect, so the norm before that attention is selected. Plain linear layers are skipped because they
    are parts of an attention, and so are outputs with another width than the last map.

    Args:
        backbone: Maps (N, 3, H, W) to (N, D).
        image_size: H and W.
        layer: The name of a layer within the backbone to use instead.

    Raises:
        ConfigError: There is none, or the given layer is unknown or has no spatial positions.
    """
    known = _FOUND.setdefault(backbone, {})
    key = (image_size, layer, *added_tokens(backbone).items())  # grafts may be set or switched off later
    if key not in known:
        known[key] = _measure(backbone, image_size, layer)
    return known[key]


def layout_of(shape: torch.Size, batch: int, prefix: int | None = None) -> Layout | None:
    """The layout of an output of this shape; None if it has no spatial positions.

    Args:
        shape: Shape of the output.
        batch: Number of input images.
        prefix: Tokens before the patch tokens, if the backbone declares them.
    """
    if len(shape) == 4 and shape[0] == batch:
        _, a, b, c = shape
        if b == c > 1:
            return Layout("channels first", a, b)
        if a == b > 1:
            return Layout("channels last", c, a)
    if len(shape) == 3 and shape[0] == batch:
        _, tokens, channels = shape
        for before in [*([] if prefix is None else [prefix]), *range(MOST_PREFIX_TOKENS + 1)]:
            side = math.isqrt(max(0, tokens - before))
            if side > 1 and side * side == tokens - before:
                return Layout("tokens", channels, side, before)
    return None


@torch.inference_mode(False)
@torch.enable_grad()
def _measure(backbone: nn.Module, image_size: int, layer: str | None) -> TargetLayer:
    modules = dict(backbone.named_modules())
    if layer is not None and layer not in modules:
        raise ConfigError(
            f"layer: the backbone {type(backbone).__name__} has no layer {layer!r}. Similar names: "
            f"{', '.join(near(layer, modules)) or 'none'}."
        )
    outputs, features = _outputs(backbone, image_size)
    maps: list[tuple[str, Tensor, Layout]] = []
    for name, output in outputs:
        layout = layout_of(output.shape, len(features), _prefix_of(backbone, name))
        if (
            layout is not None
            and layout.side < image_size
            and (layer == name or not isinstance(modules[name], nn.Linear))
        ):
            maps.append((name, output, layout))
    if layer is not None:
        maps = [found for found in maps if found[0] == layer]
        if not maps:
            shapes = [tuple(output.shape[1:]) for name, output in outputs if name == layer]
            raise ConfigError(
                f"layer: the output of {layer} is not a map: expected (C, h, w), (h, w, C) or (tokens, C) per image, found "
                f"{shapes[-1] if shapes else 'no tensor'}."
            )
        return TargetLayer(layer, maps[-1][2])
    # The sum over normalised channels would not depend on any position.
    towards = torch.randn(features.shape, generator=torch.Generator().manual_seed(0)).to(features)
    aim = (features * towards).sum()
    for name, output, layout in reversed(maps):
        if layout.channels == maps[-1][2].channels and _places_count(aim, output, layout):
            return TargetLayer(name, layout)
    raise ConfigError(
        f"The backbone {type(backbone).__name__} has no spatial features at {image_size} pixels: no layer's output has "
        "more than one position. Give a layer, or use a larger data.image_size or another backbone."
    )


def _prefix_of(backbone: nn.Module, name: str) -> int | None:
    """Tokens before the patch tokens in the output of a layer: the backbone's, and those of grafts; None if it declares none."""
    own: int | None = getattr(backbone, "num_prefix_tokens", None)
    if own is None:
        return None
    for block, (within, behind) in added_tokens(backbone).items():
        if f"{name}.".startswith(f"{block}."):
            return own + (behind if name == block else within)
    return own


def _places_count(aim: Tensor, output: Tensor, layout: Layout) -> bool:
    """Whether more than a fifth of the positions affect the features.

    After the last attention of a ViT none of them does; a stride after an untrained residual block, whose last norm starts
    at zero, leaves a quarter.
    """
    (gradient,) = torch.autograd.grad(aim, output, retain_graph=True, allow_unused=True)
    return gradient is not None and bool((layout.to_map(gradient) != 0).any(dim=1).float().mean() > 0.2)


def _outputs(backbone: nn.Module, image_size: int) -> tuple[list[tuple[str, Tensor]], Tensor]:
    """Name and output of each layer, in the order of computation, and the features (N, D)."""
    found: list[tuple[str, Tensor]] = []

    def keep(name: str, module: nn.Module, inputs: Any, output: Any) -> Any:
        if not isinstance(output, Tensor):
            return None
        found.append((name, output))
        # The next layer gets a copy, because in-place operations would change the stored output.
        return output.clone()

    like = next(backbone.parameters(), torch.zeros(()))
    # With two images, attention windows in the batch dimension can be distinguished from images.
    noise = torch.randn(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    with ExitStack() as stack:
        stack.enter_context(in_evaluation_mode(backbone))
        for name, module in backbone.named_modules():
            stack.callback(module.register_forward_hook(partial(keep, name)).remove)
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        features = backbone(noise.to(like).requires_grad_())
    return found, features


class in_evaluation_mode:  # noqa: N801 - reads as a word in a with statement
    """Set a module and its submodules to evaluation mode, and restore their modes on exit."""

    def __init__(self, module: nn.Module) -> None:
        self.modes = [(each, each.training) for each in module.modules()]
        self.module = module

    def __enter__(self) -> None:
        self.module.eval()

    def __exit__(self, *_: object) -> None:
        for each, mode in self.modes:
            each.training = mode
