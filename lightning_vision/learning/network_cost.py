"""The cost of predicting one image."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from lightning_vision.learning.closed_form import full_precision
from lightning_vision.learning.network import Network, evaluation_mode
from lightning_vision.learning.strategy import Strategy
from lightning_vision.learning.strategy_features import features_for, has_own_features

Made = TypeVar("Made")
Passes = dict[Hashable, tuple[Tensor, int]]
"""Features of an image and what they cost, by what they depend on."""


def _attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


# The form of attention on a CPU, which torch before 2.7 leaves out of its count.
ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}


def count_macs(strategy: Strategy, network: Network, image_size: int, passes: Passes | None = None) -> int | None:
    """Multiply-adds of a strategy's prediction for one image: all its passes through the backbone, and one variant's logits.

    Args:
        strategy: The strategy that predicts.
        network: Its network; it is not changed.
        image_size: Side of the image in pixels.
        passes: Those that were counted before, for the same network: they take longest. New ones are added.

    Returns:
        Those of matrix products, convolutions and attention, which torch counts; None if there are none.
    """
    image = torch.zeros(1, 3, image_size, image_size, device=network.mean.device, dtype=network.mean.dtype)
    passes = {} if passes is None else passes
    own = has_own_features(strategy)
    computes = (type(strategy), *(tensor.shape for tensor in strategy.state_dict().values())) if own else None
    key = (computes, image_size, *(graft["key"] for graft in network.grafts))
    passed = network.backbone_images
    with evaluation_mode(network), torch.no_grad(), torch.compiler.set_stance("force_eager"):
        if key not in passes:
            passes[key] = _counted(lambda: features_for(strategy, network, image))
        features, of_features = passes[key]
        features = features.to(network.classifier.weight.dtype)
        with full_precision(features):
            logits, of_logits = _counted(lambda: strategy.predict(network, features))
    network.backbone_images = passed
    return of_features + of_logits // (len(logits) if isinstance(logits, Mapping) else 1) or None


def _counted(make: Callable[[], Made]) -> tuple[Made, int]:
    """What a function returns, and the multiply-adds that it took."""
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        made = make()
    return made, counter.get_total_flops() // 2
