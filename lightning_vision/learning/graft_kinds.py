"""The kinds of grafts: adapters, tokens, low-rank changes of weights, scales and shifts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.errors import ConfigError
from lightning_vision.learning.graft_places import (
    BlockGraft,
    Graft,
    named_blocks,
    own_layers,
    own_weight,
    set_around,
    set_over,
)
from lightning_vision.terminal.wording import listed, near

POSITIONS = ("relative_position_bias_table", "rel_pos_bias_table", "rel_pos")
"""Attributes of an attention whose positions are a table of pairs of patches, which has no entry for further tokens."""


class Adapter(BlockGraft):
    r"""A bottleneck beside the MLP of each block (AdaptFormer, arXiv 2205.13535, as used by APER, arXiv 2303.07338).

    With the residual stream x (N, tokens, D) between attention and MLP, W_d (D, R), W_u (R, D) and the scale s

    .. math:: y = \text{block}(x) + s\, (\max(0, x W_d + b_d) W_u + b_u)

    W_u starts at 0, so that an untrained adapter changes nothing.
    """

    def __init__(self, like: Tensor, width: int, scale: float, dropout: float) -> None:
        super().__init__()
        d = len(like)
        self.down, self.up = nn.Linear(d, width).to(like), nn.Linear(width, d).to(like)
        self.scale, self.dropout = scale, dropout
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    @classmethod
    def set_into(
        cls, backbone: nn.Module, key: str, width: int = 64, scale: float = 0.1, dropout: float = 0.1
    ) -> Mapping[str, Self]:
        """Set one around each block.

        Args:
            backbone: A transformer.
            key: Its name.
            width: R.
            scale: s.
            dropout: Of the bottleneck, in training.
        """
        if not (_whole(width) and math.isfinite(scale) and 0 <= dropout < 1):
            raise ConfigError(
                f"adapter: expected width >= 1, a finite scale and 0 <= dropout < 1; found {width}, {scale}, {dropout}."
            )
        made = {}
        for name, block in _blocks(backbone, "adapter").items():
            made[name] = cls(_norm_weight(block), width, scale, dropout)
            set_around(block, key, made[name])
        return made

    def beside(self, x: Tensor) -> Tensor:
        """S (max(0, x W_d + b_d) W_u + b_u)."""
        h = F.dropout(self.down(x).relu(), self.dropout, self.training)
        added: Tensor = self.up(h)
        return added * self.scale


class Tokens(BlockGraft):
    """Trained tokens among those of the image (visual prompt tuning, arXiv 2203.12119).

    Deep: fresh tokens before each block, dropped behind it. Shallow: tokens before the first block, dropped behind the last. They
    start at 0 and stand behind the class token and the registers.
    """

    def __init__(self, prefix: int, length: int, vectors: Tensor | None, *, deep: bool, last: bool) -> None:
        super().__init__()
        self.prefix, self.tokens, self.lasting = prefix, length, not deep
        self.tokens_behind = 0 if deep or last else length
        self.vectors = None if vectors is None else nn.Parameter(vectors)  # (length, D)

    @classmethod
    def set_into(cls, backbone: nn.Module, key: str, length: int = 5, deep: bool = True) -> Mapping[str, Self]:
        """Set tokens before each block, or before the first.

        Args:
            backbone: A transformer with global attention.
            key: Their name.
            length: Number of tokens.
            deep: Before each block, else before the first alone.
        """
        if not _whole(length):
            raise ConfigError(f"tokens: expected length >= 1, found {length!r}.")
        blocks = _blocks(backbone, "tokens")
        prefix = getattr(backbone, "num_prefix_tokens", None)
        tables = [
            block for block in blocks.values() if any(getattr(block.attn, a, None) is not None for a in POSITIONS)
        ]
        if prefix is None or tables:
            raise ConfigError(
                f"{type(backbone).__name__} cannot take further tokens: its attention has a table of positions or windows of "
                "patches, in which they have no place. Use adapter, low_rank or scale_shift, or a plain ViT (vit, deit, clip, dinov2)."
            )
        made = {}
        for number, (name, block) in enumerate(blocks.items()):
            weight, first = _norm_weight(block), number == 0
            vectors = weight.new_zeros(length, len(weight)) if deep or first else None
            made[name] = cls(prefix, length, vectors, deep=deep, last=number == len(blocks) - 1)
            set_around(block, key, made[name])
        return made

    def enter(self, x: Tensor) -> Tensor:
        """The tokens (N, T, D) and those of the graft."""
        if self.vectors is None:
            return x
        own = self.vectors.to(x.dtype).expand(x.shape[0], -1, -1)
        return torch.cat([x[:, : self.prefix], own, x[:, self.prefix :]], dim=1)

    def leave(self, x: Tensor) -> Tensor:
        """The tokens without those of the graft."""
        if self.tokens_behind:
            return x
        return torch.cat([x[:, : self.prefix], x[:, self.prefix + self.tokens :]], dim=1)


class LowRank(Graft):
    r"""A change of weights of low rank (LoRA, arXiv 2106.09685).

    With W (O, I), A (R, I), B (O, R) and the scale s

    .. math:: W' = W + s B A

    B starts at 0. Of a layer that computes queries, keys and values at once, each part has its own A and B. The weight itself is
    changed, not the layer's output: some attentions of timm read the weight of a layer that they do not call.
    """

    mergeable = True

    def __init__(self, weight: Tensor, rank: int, scale: float, rows: Sequence[int] | None) -> None:
        super().__init__()
        self.rows, self.scale = rows, scale
        outputs, inputs = weight.flatten(1).shape
        parts, outputs = (1, outputs) if rows is None else (len(rows), outputs // 3)
        self.a = nn.Parameter(weight.new_empty(parts, rank, inputs))
        self.b = nn.Parameter(weight.new_zeros(parts, outputs, rank))
        for a in self.a:
            nn.init.kaiming_uniform_(a, a=math.sqrt(5))

    @classmethod
    def set_into(
        cls,
        backbone: nn.Module,
        key: str,
        rank: int = 8,
        parts: str = "qv",
        scale: float = 1.0,
        layers: Sequence[str] | None = None,
    ) -> Mapping[str, Self]:
        """Set one over the weight of each chosen layer.

        Args:
            backbone: Any.
            key: Its name.
            rank: R.
            parts: Which of queries, keys and values (q, k, v) of each block, if no layers are given.
            scale: s.
            layers: Names of linear layers and 1 x 1 convolutions, or patterns such as ``blocks.*.mlp.fc1``. None: the attention of
                each block; of a backbone without blocks all linear layers and 1 x 1 convolutions.
        """
        if not (_whole(rank) and math.isfinite(scale) and parts and set(parts) <= set("qkv")):
            raise ConfigError(
                f"low_rank: expected rank >= 1, a finite scale and parts out of q, k and v; found {rank}, {scale}, {parts!r}."
            )
        made = {}
        chosen = _chosen(backbone, layers, "".join(sorted(set(parts), key="qkv".index)))
        for name, (layer, rows) in chosen.items():
            weight = own_weight(layer)
            if weight is None:
                raise ConfigError(f"low_rank: the layer {name} has no weight. Choose other layers.")
            outputs, inputs = weight.flatten(1).shape
            widest = min(outputs if rows is None else outputs // 3, inputs)
            if rank > widest:
                raise ConfigError(
                    f"low_rank: rank {rank} is above the width of the layer {name}, {outputs} x {inputs}: expected at most {widest}. "
                    "Choose a smaller rank or wider layers."
                )
            made[name] = cls(weight, rank, scale, rows)
        for name, graft in made.items():
            set_over(chosen[name][0], "weight", key, graft)
        return made

    def forward(self, weight: Tensor) -> Tensor:
        """W + s B A, in the chosen rows."""
        change = self.scale * (self.b @ self.a)  # (parts, O, I)
        if self.rows is None:
            return weight + change[0].view_as(weight)
        rows = list(weight.chunk(3))
        for part, added in zip(self.rows, change, strict=True):
            rows[part] = rows[part] + added
        return torch.cat(rows)


class ScaleShift(Graft):
    r"""A scale and a shift behind each layer (SSF, arXiv 2210.08823), as changes of its weight and bias.

    With W (O, ...), b (O,), and g, h (O,) for y = W x + b

    .. math:: g\, y + h = (g W)\, x + (g b + h)

    g starts at 1 and h at 0, so that an untrained graft changes nothing. (The authors draw them from N(1, 0.02) and N(0, 0.02).)
    It is set behind norms, linear layers and convolutions. A linear layer without a bias gets the scale alone; a convolution
    without one is left out, because a norm follows it.
    """

    mergeable = True

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.scale = nn.Parameter(weight.new_ones(len(weight)))

    @classmethod
    def set_into(cls, backbone: nn.Module, key: str) -> Mapping[str, Self]:
        """Set one behind each layer.

        Args:
            backbone: Any.
            key: Its name.
        """
        made = {}
        for name, layer in own_layers(backbone).items():
            weight, bias = own_weight(layer), own_weight(layer, "bias")
            is_norm = weight is not None and weight.dim() == 1
            if weight is None or not (
                is_norm or isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and bias is not None)
            ):
                continue
            made[name] = cls(weight.detach())
            set_over(layer, "weight", key, made[name])
            if bias is not None:
                set_over(layer, "bias", key, Shift(made[name]))
        if not made:
            raise ConfigError(
                f"{type(backbone).__name__} has no norm, linear layer or convolution with a bias, behind which a scale could be set. "
                "Use fine_tune, or another model.backbone."
            )
        return made

    def forward(self, weight: Tensor) -> Tensor:
        """G W."""
        return weight * self.scale.view(-1, *[1] * (weight.dim() - 1))


class Shift(Graft):
    """The shift of a ``ScaleShift``, over the bias: g b + h."""

    mergeable = True

    def __init__(self, scale: ScaleShift) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros_like(scale.scale))
        self._scale = (scale,)  # in a tuple: its parameter is listed once, with the weight

    def forward(self, bias: Tensor) -> Tensor:
        """G b + h."""
        return bias * self._scale[0].scale + self.shift


def _whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 1


def _blocks(backbone: nn.Module, kind: str) -> dict[str, Any]:
    """The blocks of a backbone.

    Raises:
        ConfigError: There are none.
    """
    blocks = named_blocks(backbone)
    if not blocks:
        raise ConfigError(
            f"{type(backbone).__name__} has no transformer blocks (modules with attn, norm2 and mlp), which {kind} needs. Use "
            "scale_shift or low_rank, or a ViT (vit, deit, clip, siglip, dinov2, eva, beit, swin) as model.backbone."
        )
    return blocks


def _norm_weight(block: Any) -> Tensor:
    """A vector (D,) as wide as the residual stream of a block, on its device."""
    weight = own_weight(block.norm2)
    if weight is None:
        like = next(block.parameters())
        return torch.empty(block.norm2.normalized_shape[-1], device=like.device, dtype=like.dtype)
    return weight.detach()


def _chosen(
    backbone: nn.Module, layers: Sequence[str] | None, parts: str
) -> dict[str, tuple[nn.Module, Sequence[int] | None]]:
    """The layers whose weights change, by name, and which thirds of their rows (None: all)."""
    able = {name: layer for name, layer in own_layers(backbone).items() if _is_matrix(layer)}
    if layers is not None:
        return {name: (able[name], None) for name in _named(backbone, able, layers)}
    blocks = named_blocks(backbone)
    if not blocks:
        if not able:
            raise ConfigError(
                f"{type(backbone).__name__} has neither linear layers nor 1 x 1 convolutions, which low_rank needs."
            )
        return {name: (layer, None) for name, layer in able.items()}
    found: dict[str, tuple[nn.Module, Sequence[int] | None]] = {}
    for name in blocks:
        fused, single = f"{name}.attn.qkv", [f"{name}.attn.{part}_proj" for part in parts]
        if fused in able:
            rows = ["qkv".index(part) for part in parts]
            found[fused] = (able[fused], rows)
        elif all(each in able for each in single):
            found |= {each: (able[each], None) for each in single}
        else:
            raise ConfigError(
                f"low_rank: expected a layer {fused}, or {listed(single)}; the attention of {type(backbone).__name__} has neither. "
                "Give layers."
            )
    return found


def _named(backbone: nn.Module, able: Mapping[str, nn.Module], layers: Sequence[str]) -> list[str]:
    """The names that patterns match, in the backbone's order.

    Raises:
        ConfigError: A pattern matches no layer, or one whose weight is no matrix.
    """
    for pattern in layers:
        if not any(fnmatchcase(name, pattern) for name in able):
            there = [name for name in own_layers(backbone) if name and fnmatchcase(name, pattern)]
            if there:
                raise ConfigError(
                    f"low_rank: {there[0]} is a {type(backbone.get_submodule(there[0])).__name__}; expected a linear layer or a "
                    "1 x 1 convolution."
                )
            raise ConfigError(
                f"low_rank: {type(backbone).__name__} has no layer {pattern!r}. Similar names: "
                f"{', '.join(near(pattern, able)) or 'none'}."
            )
    return [name for name in able if any(fnmatchcase(name, pattern) for pattern in layers)]


def _is_matrix(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.kernel_size == (1, 1) and layer.groups == 1
    return isinstance(layer, nn.Linear)
