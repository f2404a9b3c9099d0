"""Temperature scaling: confidences that match the accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.errors import DataError, TrainingError
from lightning_vision.terminal.wording import plural

BINS = 15
"""Of equal width, as for the calibration error in results.json."""
FEWEST_IMAGES, FEWEST_PER_CLASS = 50, 2
"""A temperature needs at least 50 validation images, and twice as many as there are classes."""
NEVER = -1e9
"""Used instead of minus infinity, which has no gradient."""
LIMITS = (1e-4, 1e4)
"""Temperatures outside, of scores that differ by 1 on average, are not valid: the likelihood has no maximum."""


@dataclass(frozen=True)
class Fitted:
    """A temperature, and the likelihood of the validation images before and after it."""

    temperature: float
    determined: bool
    """False if every validation image is classified correctly: the likelihood then grows without bound as T goes to 0, and T
    stays 1."""
    nll_before: float
    """Mean negative log likelihood in nats, at T = 1."""
    nll_after: float


def fit_temperature(logits: Tensor, labels: Tensor) -> Fitted:
    """The temperature T that makes the true classes most likely under softmax(z / T).

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017 (arXiv 1706.04599), section 4.2: T minimises the
    negative log likelihood on validation data. It changes no prediction. The search is over log T, by L-BFGS in float64, and
    starts from the mean difference of the scores: those of a closed form may be of any size.

    Args:
        logits: (N, C) of validation images; -inf for classes that were never seen.
        labels: (N,) their classes, all seen.

    Raises:
        DataError: There are too few images, or all are of one class.
        TrainingError: Predictions are no better than chance, so that no temperature is best.
    """
    seen = torch.isfinite(logits).any(dim=0)
    needed = max(FEWEST_IMAGES, FEWEST_PER_CLASS * int(seen.sum()))
    classes = len(set(labels.tolist()))
    if len(labels) < needed or classes < 2:
        found = f"{plural(len(labels), 'image')} of {classes} class{'' if classes == 1 else 'es'}"
        raise DataError(
            f"The validation data is too small to fit a temperature: expected at least {needed} images (the larger of "
            f"{FEWEST_IMAGES} and {FEWEST_PER_CLASS} for each of the {int(seen.sum())} classes seen) of two classes or more, "
            f"found {found}. Use more data, or a new run with a larger data.val_fraction."
        )
    if not bool(torch.isfinite(logits[torch.arange(len(labels)), labels]).all()):
        raise TrainingError(
            "No temperature can be fitted: the validation data has images of classes that cannot be predicted (their score is minus "
            "infinity). The learning strategy has not seen them yet; use a later checkpoint."
        )
    z = logits.double()
    before = float(F.cross_entropy(z, labels))
    if bool((z.argmax(dim=1) == labels).all()):
        return Fitted(1.0, False, before, before)
    below = z.amax(dim=1, keepdim=True) - z
    scale = float(below[torch.isfinite(below)].mean()) or 1.0
    z = (-below / scale).clamp(min=NEVER)
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_t], lr=1.0, max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(z / log_t.exp(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.inference_mode(False), torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    relative = float(log_t.detach().exp())
    temperature = relative * scale
    if not LIMITS[0] < relative < LIMITS[1]:
        raise TrainingError(
            f"No temperature can be fitted: on the {len(labels)} validation images the likelihood is best at T = {temperature:.3g}. "
            "Predictions are no better than chance; train longer, or check the validation data."
        )
    return Fitted(temperature, True, before, float(F.cross_entropy(z / relative, labels)))


@dataclass(frozen=True)
class Bin:
    """The images whose confidence lies in one interval."""

    low: float
    high: float
    count: int
    confidence: float
    """Mean confidence; 0 without images, as ``accuracy``."""
    accuracy: float


def reliability(confidence: npt.NDArray[np.floating], correct: npt.NDArray[np.bool_]) -> list[Bin]:
    """The bins of a reliability diagram: the mean distance between their two means is the calibration error.

    Args:
        confidence: (N,) probability of the predicted class.
        correct: (N,) whether it is the true one.
    """
    edges = np.linspace(0, 1, BINS + 1)
    clipped = np.clip(confidence.astype(np.float64), 0, 1)
    # A bin holds its lower edge, and the last one its upper edge too.
    place = np.minimum(np.searchsorted(edges, clipped, side="right") - 1, BINS - 1)
    count = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):
        mean = np.nan_to_num(np.bincount(place, clipped, BINS) / count)
        accuracy = np.nan_to_num(np.bincount(place, correct, BINS) / count)
    return [
        Bin(float(edges[b]), float(edges[b + 1]), int(count[b]), float(mean[b]), float(accuracy[b]))
        for b in range(BINS)
    ]


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """Expected calibration error: mean over images of |accuracy - confidence| of their bin; None without images."""
    total = sum(item.count for item in bins)
    return sum(item.count * abs(item.accuracy - item.confidence) for item in bins) / total if total else None
