"""One batch of a closed-form strategy."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_vision.data.batch import Batch
from lightning_vision.errors import TrainingError
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy
from lightning_vision.learning.strategy_features import features_for
from lightning_vision.results.predictions import in_stream_order


@torch.no_grad()
def closed_form_step(network: Network, learner: Strategy, batch: Batch, total: int, place: Callable[[], str]) -> None:
    """Let a closed form learn the features of a global batch.

    Args:
        network: Computes the features.
        learner: The strategy.
        batch: This process's part of the global batch.
        total: Images of the global batch.
        place: Where in the stream the batch is, for a message.

    Raises:
        TrainingError: Features are not finite.
    """
    features = features_for(learner, network, batch).float()[batch["valid"]]
    if not torch.isfinite(features).all():
        raise TrainingError(
            f"The features of {place()} are not finite, so nothing can be learned from them. The checkpoint of the "
            "last experience is kept. Check the training of the base, or use trainer.precision=32-true."
        )
    labels = batch["label"][batch["valid"]]
    with full_precision(features):
        learner.update(network, in_stream_order(features, total), in_stream_order(labels, total))


def full_precision(features: Tensor) -> torch.autocast:
    """Run the head without mixed precision: in bfloat16 the heads of a sweep give equal logits, and the head costs little."""
    return torch.autocast(features.device.type, enabled=False)
