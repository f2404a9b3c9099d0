"""Comparison of an exported file with the model, and its speed."""

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

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Run = Callable[[Images], tuple[Floats, Floats]]
"""From uint8 (N, 3, S, S) to logits (N, C) and features (N, D)."""

TOLERANCE = 1e-4
"""Tolerance of probabilities, and of logits and features relative to the largest value."""
BATCH = 7
"""A number that no exporter has seen; single images are compared too."""
WARM_UP, REPEATS = 5, 30


@dataclass(frozen=True)
class Difference:
    """Differences between the outputs of a file and of the model, on N images."""

    images: int
    probability: float
    """The largest difference of a probability."""
    mean_probability: float
    """The mean difference of the probability of the predicted class."""
    logit: float
    """The largest difference of a logit of a seen class, relative to the largest logit (but at least to 1)."""
    feature: float
    """The same for features."""
    agreement: float
    """The share of images for which the same class is predicted."""


def model_outputs(model: ContinualClassifier, images: Images) -> tuple[Floats, Floats]:
    """Outputs of the PyTorch model: logits (N, C), -1e9 for unseen classes, and features (N, D).

    Args:
        model: In evaluation mode, on the CPU.
        images: uint8 (N, 3, S, S).
    """
    network = model.network
    with torch.inference_mode():
        features = network.penultimate(network.features(network.normalise(torch.from_numpy(images))))
    return model_logits(model, images), features.float().numpy()


def model_logits(model: ContinualClassifier, images: Images) -> Floats:
    """The logits of ``model_outputs``, from one pass."""
    with torch.inference_mode():
        logits: Floats = model(torch.from_numpy(images)).float().clamp(min=UNSEEN).numpy()
    return logits


def compare(model: ContinualClassifier, run: Run, images: Images) -> Difference:
    """Run the model and the file on the same images, in batches of 7, and the first 7 one by one.

    Args:
        model: In evaluation mode, on the CPU.
        run: The file.
        images: uint8 (N, 3, S, S).

    Raises:
        CheckpointError: The file returns other shapes, or values that are not finite.
    """
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    batches += [images[place : place + 1] for place in range(min(BATCH, len(images)))]
    theirs, ours = (
        zip(*(model_outputs(model, batch) for batch in batches), strict=True),
        zip(*map(run, batches), strict=True),
    )
    (logits, features), (found, found_features) = (map(np.concatenate, each) for each in (theirs, ours))
    for name, one, other in (("logits", logits, found), ("features", features, found_features)):
        if one.shape != other.shape or not np.isfinite(other).all():
            raise CheckpointError(
                f"The exported file returns {name} "
                f"{other.shape}{'' if np.isfinite(other).all() else ' with values that are not finite'}; expected "
                f"{one.shape}, as the model returns. The file was removed."
            )
    probability, found_probability = _softmax(logits), _softmax(found)
    predicted = logits.argmax(axis=1)
    once = np.arange(len(images))  # the single ones come after, a second time
    seen = logits > UNSEEN
    return Difference(
        images=len(images),
        probability=float(np.abs(probability - found_probability).max()),
        mean_probability=float(np.abs(probability - found_probability)[once, predicted[once]].mean()),
        logit=_relative(logits[seen], found[seen]),
        feature=_relative(features, found_features),
        agreement=float((predicted == found.argmax(axis=1))[once].mean()),
    )


def check_equal(difference: Difference, file: str) -> None:
    """Refuse a file whose outputs differ from the model's.

    Raises:
        CheckpointError: It differs by more than 1e-4.
    """
    if max(difference.probability, difference.logit, difference.feature) > TOLERANCE:
        raise CheckpointError(
            f"The predictions of {file} differ from the model's on {difference.images} test images, so the file was "
            f"removed: probabilities differ by up to {difference.probability:.1e}, logits by {difference.logit:.1e} "
            f"and features by {difference.feature:.1e} of the largest value; expected {TOLERANCE:g} at most. Try "
            "another format or opset."
        )


def latency_ms(run: Callable[[Images], object], image: Images) -> float:
    """Milliseconds for one image (3, S, S): the median of 30 repeats, after 5 to warm up."""
    batch, seconds = image[None], []
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
