"""Tensors of a model, a batch or a checkpoint: found by their place, copied and compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_vision.learning.classifier import ContinualClassifier

ROUNDING = "If it agrees after one epoch, rounding has grown in training: fewer epochs or shorter steps in `arguments`."
"""What else makes two runs differ that do the same in another order."""


def variants_of(logits: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The logits of each variant by its key; of one alone under the empty one."""
    return dict(logits) if isinstance(logits, Mapping) else {"": logits}


def untrained_names(model: ContinualClassifier) -> Iterator[str]:
    """The tensors that a step of the optimizer cannot move, by their name in a checkpoint."""
    for place, module in model.network.named_modules():
        own = dict(module.named_parameters(recurse=False))
        fixed = own and not any(parameter.requires_grad for parameter in own.values())
        kept = [name for name, parameter in own.items() if not parameter.requires_grad]
        for name in [*kept, *(module._buffers if fixed else ())]:
            yield ".".join(part for part in ("network", place, name) if part)


def copies_of(given: Mapping[str, Any]) -> dict[str, Tensor]:
    """Copies of the tensors in a mapping, by their place."""
    return {name: value.clone() for name, value in tensors_in(given)}


def tensors_in(given: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in mappings and lists, by their place."""
    if isinstance(given, Tensor):
        yield name, given
    elif isinstance(given, Mapping):
        for key, value in given.items():
            yield from tensors_in(value, f"{name}.{key}" if name else str(key))
    else:
        for number, value in enumerate(given):
            yield from tensors_in(value, f"{name}[{number}]")


def nearly_equal(one: Tensor, other: Tensor) -> bool:
    """Up to rounding in another order, on the scale of the tensor's largest entry.

    Bytes (uint8) are an archive of something, which rounding changes altogether: predictions speak for it.
    """
    if one.dtype == other.dtype == torch.uint8:
        return True
    if one.shape != other.shape:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    scale = float(one.abs().nan_to_num(posinf=0.0).max()) if one.numel() else 0.0
    return torch.allclose(one, other, rtol=1e-3, atol=1e-4 * scale + 1e-6, equal_nan=True)
