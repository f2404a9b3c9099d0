"""What is kept of images that were run through the classifier: a few numbers each, so that 100,000 take a few megabytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lightning_vision.trust.detectors import DETECTORS, Detectors
from lightning_vision.trust.outputs import Outputs


@dataclass(frozen=True)
class Scored:
    """Of N images."""

    index: npt.NDArray[np.int64]
    """(N,) rows of the sample table, or places in a folder."""
    label: npt.NDArray[np.int64]
    """(N,)"""
    predicted: npt.NDArray[np.int64]
    """(N,)"""
    confidence: npt.NDArray[np.float32]
    """(N,) probability of the predicted class at T = 1."""
    calibrated: npt.NDArray[np.float32]
    """(N,) the same at the temperature that is kept."""
    ood_scores: npt.NDArray[np.float32]
    """(N, 5) by ``DETECTORS``, larger for out-of-distribution images; (N, 0) if they were not requested."""

    def __len__(self) -> int:
        return len(self.label)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether each prediction is right, (N,)."""
        right: npt.NDArray[np.bool_] = self.predicted == self.label
        return right

    def take(self, rows: npt.NDArray[np.bool_]) -> Scored:
        """Those where a mask (N,) is true."""
        return Scored(**{item.name: getattr(self, item.name)[rows] for item in fields(Scored)})


def score_logits(
    index: npt.NDArray[np.int64], label: npt.NDArray[np.int64], logits: Tensor, temperature: float
) -> Scored:
    """Predictions and confidences from logits (N, C), without out-of-distribution scores.

    Args:
        index: (N,)
        label: (N,)
        logits: -inf for classes that were not seen.
        temperature: Of the calibrated confidence.
    """
    confidence, predicted = logits.softmax(dim=1).max(dim=1)
    calibrated = (logits / temperature).softmax(dim=1).amax(dim=1)
    none = np.empty((len(label), 0), dtype=np.float32)
    return Scored(index, label, predicted.numpy(), confidence.numpy(), calibrated.numpy(), none)


def score(passed: Iterable[Outputs], temperature: float, detectors: Detectors | None = None) -> Scored:
    """Keep what is needed of each image, batch by batch, and drop the rest.

    Args:
        passed: The batches.
        temperature: Of the calibrated confidence.
        detectors: None: no out-of-distribution scores.
    """
    whole, real = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    columns = len(DETECTORS) if detectors is not None else 0
    parts = [Scored(whole, whole, whole, real, real, np.empty((0, columns), dtype=np.float32))]
    for outputs in passed:
        part = score_logits(outputs.index, outputs.label.numpy(), outputs.logits, temperature)
        if detectors is not None:
            part = replace(part, ood_scores=detectors.scores(outputs.features, outputs.logits))
        parts.append(part)
    return Scored(
        **{item.name: np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(Scored)}
    )
