"""Whether an exported file gives what the model gives, and how fast."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt
import torch

from lightning_vision.errors import CheckpointError
from lightning_vision.exporting.classifier_module import UNSEEN
from lightning_vision.learning.classifier import ContinualClassifier

Pictures = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Run = Callable[[Pictures], tuple[Floats, Floats]]
"""From uint8 (N, 3, S, S) to logits (N, C) and features (N, D)."""

TOLERANCE = 1e-4
"""Of probabilities; of logits and features relative to the largest."""
BATCH = 7
"""An odd number that no exporter has seen; single pictures are looked at too."""
WARM_UP, REPEATS = 5, 30


@dataclass(frozen=True)
class Difference:
    """How far what a file gives is from what the model gives, on N pictures."""

    pictures: int
    probability: float
    """The largest difference of a probability."""
    mean_probability: float
    """The mean difference of the probability that the model gives to the class it predicts."""
    logit: float
    """The largest difference of a logit of a seen class, relative to the largest logit (but at least to 1)."""
    feature: float
    """The same of features."""
    agreement: float
    """The share of pictures for which the same class is predicted."""


def model_outputs(model: ContinualClassifier, pictures: Pictures) -> tuple[Floats, Floats]:
    """What the PyTorch model gives: logits (N, C), -1e9 for unseen classes, and features (N, D).

    Args:
        model: In evaluation mode, on the CPU.
        pictures: uint8 (N, 3, S, S).
    """
    network = model.network
    with torch.inference_mode():
        features = network.penultimate(network.features(network.normalise(torch.from_numpy(pictures))))
    return model_logits(model, pictures), features.float().numpy()


def model_logits(model: ContinualClassifier, pictures: Pictures) -> Floats:
    """The first of ``model_outputs``, by one pass."""
    with torch.inference_mode():
        logits: Floats = model(torch.from_numpy(pictures)).float().clamp(min=UNSEEN).numpy()
    return logits


def compare(model: ContinualClassifier, run: Run, pictures: Pictures) -> Difference:
    """Run the model and the file on the same pictures, in batches of 7, and the first 7 one by one.

    Args:
        model: In evaluation mode, on the CPU.
        run: The file.
        pictures: uint8 (N, 3, S, S).

    Raises:
        CheckpointError: The file gives other shapes, or no numbers.
    """
    batches = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
    batches += [pictures[place : place + 1] for place in range(min(BATCH, len(pictures)))]
    theirs, ours = (
        zip(*(model_outputs(model, batch) for batch in batches), strict=True),
        zip(*map(run, batches), strict=True),
    )
    (logits, features), (found, found_features) = (map(np.concatenate, each) for each in (theirs, ours))
    for name, one, other in (("logits", logits, found), ("features", features, found_features)):
        if one.shape != other.shape or not np.isfinite(other).all():
            raise CheckpointError(
                f"The exported file gives {name} {other.shape}{'' if np.isfinite(other).all() else ' that are not all numbers'}; "
                f"expected the model's, {one.shape}. Nothing was kept of it."
            )
    probability, found_probability = _softmax(logits), _softmax(found)
    predicted = logits.argmax(axis=1)
    once = np.arange(len(pictures))  # the single ones come after, a second time
    seen = logits > UNSEEN
    return Difference(
        pictures=len(pictures),
        probability=float(np.abs(probability - found_probability).max()),
        mean_probability=float(np.abs(probability - found_probability)[once, predicted[once]].mean()),
        logit=_relative(logits[seen], found[seen]),
        feature=_relative(features, found_features),
        agreement=float((predicted == found.argmax(axis=1))[once].mean()),
    )


def check_equal(difference: Difference, file: str) -> None:
    """Refuse a file that is not equal to the model.

    Raises:
        CheckpointError: It differs by more than 1e-4.
    """
    if max(difference.probability, difference.logit, difference.feature) > TOLERANCE:
        raise CheckpointError(
            f"{file} does not give what the model gives on {difference.pictures} test pictures, so it was not kept: probabilities "
            f"differ by up to {difference.probability:.1e}, logits by {difference.logit:.1e} and features by "
            f"{difference.feature:.1e} of the largest; expected {TOLERANCE:g} at most. Try another format or opset."
        )


def latency_ms(run: Callable[[Pictures], object], picture: Pictures) -> float:
    """Milliseconds for one picture (3, S, S): the median of 30 repeats, after 5 to warm up."""
    batch, seconds = picture[None], []
    for repeat in range(WARM_UP + REPEATS):
        begun = time.perf_counter()
        run(batch)
        if repeat >= WARM_UP:
            seconds.append(time.perf_counter() - begun)
    return 1000 * median(seconds)


def _softmax(logits: Floats) -> npt.NDArray[np.float64]:
    raised = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _relative(expected: Floats, found: Floats) -> float:
    return float(np.abs(expected - found).max(initial=0) / max(1.0, float(np.abs(expected).max(initial=0))))
