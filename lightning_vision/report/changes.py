"""The effect of updates: forgetting per class, and images whose prediction changed from correct to wrong or back.

Everything is computed from a run's predictions for the test images after each experience.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lightning_vision.report.predictions import RunPredictions
from lightning_vision.report.runs import ReportRun

SHOWN = 12


@dataclass(frozen=True)
class ClassChange:
    """How one class changed over the stream; recalls are between 0 and 1."""

    name: str
    support: int
    """Its test images."""
    best_before: float | None
    """The best recall before the last experience, from the experience on in which the class was learned."""
    before: float | None
    """Recall before the last update, after the last experience but one."""
    after: float | None
    """Recall at the end."""

    @property
    def forgetting(self) -> float | None:
        """Best earlier recall minus the last; negative if the last is the best. None if it is not defined."""
        return None if self.best_before is None or self.after is None else self.best_before - self.after


@dataclass(frozen=True)
class FlippedImage:
    """A test image whose prediction an update changed from correct to wrong, or from wrong to correct."""

    row: int
    """In the sample table."""
    path_hash: str
    label: str
    before: str
    after: str
    confidence: float
    """Of the new prediction."""


@dataclass(frozen=True)
class Flips:
    """The images whose prediction one update changed from correct to wrong, or back."""

    experience: int
    name: str
    lost: int
    """Images that were correct after the previous experience and are wrong after this one."""
    won: int
    """Images that were wrong and are correct."""
    confident_lost: list[FlippedImage]
    """The most confident of them."""
    confident_won: list[FlippedImage]


def recalls(predictions: RunPredictions, classes: int) -> npt.NDArray[np.float64]:
    """(t, C) recall of each class after each experience; NaN for a class without test images."""
    support = np.bincount(predictions.label, minlength=classes).astype(np.float64)
    right = np.stack([np.bincount(predictions.label[row], minlength=classes) for row in predictions.correct])
    with np.errstate(invalid="ignore"):
        shares: npt.NDArray[np.float64] = right / support
    return shares


def class_changes(run: ReportRun) -> list[ClassChange]:
    """Forgetting per class.

    With r[t, c] the recall of class c on the whole test set after experience t, and s the first experience whose training
    data has the class, its forgetting is the largest r[t, c] with s <= t < T-1, minus r[T-1, c]: best minus last, as
    ``forgetting`` of results.json is for the test parts of the experiences. Where each experience brings one class, the
    mean over the classes before the last is that figure. It is not defined for a class that came with the last experience,
    without test images, or with a single experience.

    Returns:
        C changes, in the order of the classes; empty without predictions.
    """
    predictions = run.predictions()
    if predictions is None:
        return []
    names = run.results.class_names
    r = recalls(predictions, len(names))
    last = len(r) - 1
    learned = np.full(len(names), last)
    for record in reversed(run.results.experiences):
        learned[record.classes] = record.index
    support = np.bincount(predictions.label, minlength=len(names))
    changes = []
    for c, name in enumerate(names):
        defined = support[c] > 0
        earlier = r[learned[c] : last, c]
        changes.append(
            ClassChange(
                name=name,
                support=int(support[c]),
                best_before=float(earlier.max()) if defined and earlier.size else None,
                before=float(r[last - 1, c]) if defined and last > 0 else None,
                after=float(r[last, c]) if defined else None,
            )
        )
    return changes


def flips(run: ReportRun, shown: int = SHOWN) -> list[Flips]:
    """The images that each update but the first changed from correct to wrong, or back.

    Args:
        run: A run.
        shown: The largest number of images that are listed of each kind, the most confident new predictions first.

    Returns:
        One for each experience from the second on; empty without predictions.
    """
    predictions = run.predictions()
    if predictions is None:
        return []
    correct = predictions.correct
    found = []
    for record in run.results.experiences[1:]:
        t = record.index
        lost = np.flatnonzero(correct[t - 1] & ~correct[t])
        won = np.flatnonzero(~correct[t - 1] & correct[t])
        images = [_images(run, predictions, t, rows, shown) for rows in (lost, won)]
        found.append(Flips(t, record.name, len(lost), len(won), *images))
    return found


def _images(
    run: ReportRun, predictions: RunPredictions, t: int, rows: npt.NDArray[np.int64], shown: int
) -> list[FlippedImage]:
    names = run.results.class_names
    confident = rows[np.argsort(-predictions.confidence[t, rows], kind="stable")][:shown]
    return [
        FlippedImage(
            row=int(predictions.index[n]),
            path_hash=str(predictions.path_hash[n]),
            label=names[predictions.label[n]],
            before=names[predictions.predicted[t - 1, n]],
            after=names[predictions.predicted[t, n]],
            confidence=float(predictions.confidence[t, n]),
        )
        for n in confident
    ]
