"""What ``Trainer.predict`` returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from lightning_vision.data.batch import Batch
from lightning_vision.learning.closed_form import full_precision
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy
from lightning_vision.learning.strategy_features import features_for
from lightning_vision.results.predictions import Predictions


class Prediction(NamedTuple):
    """The prediction for the B images of a batch, by the picked variant where a strategy predicts several."""

    logits: Tensor
    """(B, C) float32; -inf for classes that were never seen."""
    probability: Tensor
    """(B, C) float32, from 0 to 1; each row sums to 1."""
    predicted: Tensor
    """(B,) int64, the most probable class: a position in ``class_names``."""
    row: Tensor
    """(B,) int64, the row of each image in the datamodule's ``samples``."""

    @classmethod
    def of(cls, logits: Tensor, batch: Batch) -> Prediction:
        """The prediction from masked logits of a batch, without the stand-ins that several processes need."""
        valid = batch["valid"]
        logits = logits[valid]
        probability = logits.softmax(dim=1)
        return cls(logits, probability, probability.argmax(dim=1), batch["index"][valid])


def predicted(learner: Strategy, network: Network, given: Tensor) -> Tensor | Mapping[str, Tensor]:
    """A strategy's prediction for normalised images (N, 3, H, W), or for the features of ``features_for``, without the mask."""
    features = features_for(learner, network, given).to(network.classifier.weight.dtype)
    with full_precision(features):
        return learner.predict(network, features)


def pick_variant(logits: Tensor | Mapping[str, Tensor], variant: str) -> Tensor:
    """The logits of a variant if there are several; the first one if none is named."""
    if not isinstance(logits, Mapping):
        return logits
    return logits[variant] if variant else next(iter(logits.values()))


def select_best_variant(
    learner: Strategy, network: Network, names: Sequence[str], validate: Callable[[], Predictions]
) -> str:
    """Use the variant that is best on validation data as the network's head; the first of equals.

    Args:
        learner: The strategy that predicts the variants.
        network: Its network.
        names: The variants, in the order of the predictions.
        validate: Predicts the validation images; called only if there is a choice.

    Returns:
        The name of the variant.
    """
    best = int(np.argmax(validate().accuracy())) if len(names) > 1 else 0
    learner.select_variant(network, names[best])
    return names[best]
