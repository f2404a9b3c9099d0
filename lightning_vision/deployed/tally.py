"""Counts of predictions for each class, and the least confident predictions and most confident errors."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from lightning_vision.terminal.wording import nfc, spelt


@dataclass(frozen=True)
class Case:
    """One image and what was predicted for it."""

    path: str
    predicted: str
    confidence: float
    second: str
    """The second most probable class; empty if there is only one."""
    second_probability: float
    rejected: bool
    true: str
    """The class that its folder is named after; empty if none is."""


class Tally:
    """Counts of predictions, in memory that does not grow with them.

    Args:
        class_names: Of the classifier.
        most: Cases of each kind that are kept.
    """

    def __init__(self, class_names: tuple[str, ...], most: int) -> None:
        self.class_names, self.most = class_names, most
        self.predicted, self.rejected, self.true, self.right, self.right_and_kept = np.zeros(
            (5, len(class_names)), dtype=np.int64
        )
        """(C,) each: images by predicted class, those rejected among them; and images by the class of their folder, those
        predicted right among them, and those neither wrong nor rejected."""
        self.true_and_kept = 0
        self._numbers = {nfc(name): number for number, name in enumerate(class_names)}
        self._unsure: list[tuple[float, int, Case]] = []
        self._errors: list[tuple[float, int, Case]] = []

    @property
    def count(self) -> int:
        """All predictions."""
        return int(self.predicted.sum())

    def add(self, path: str, probability: npt.NDArray[np.float64], rejected: bool) -> Case:
        """Count one image.

        Args:
            path: Relative to the folder of images; a folder in it that is named after a class is its true class.
            probability: (C,).
            rejected: Whether the prediction is rejected.
        """
        j = int(probability.argmax())
        others = np.delete(probability, j)
        second = np.delete(np.arange(len(probability)), j)[others.argmax()] if others.size else None
        true = self._true_class(path)
        case = Case(
            path,
            self.class_names[j],
            float(probability[j]),
            "" if second is None else self.class_names[second],
            0.0 if second is None else float(probability[second]),
            rejected,
            "" if true is None else self.class_names[true],
        )
        self.predicted[j] += 1
        self.rejected[j] += rejected
        if true is not None:
            self.true[true] += 1
            self.right[true] += true == j
            self.true_and_kept += not rejected
            self.right_and_kept[true] += true == j and not rejected
            if true != j:
                self._remember(self._errors, case.confidence, case)
        self._remember(self._unsure, -case.confidence, case)
        return case

    @property
    def unsure(self) -> list[Case]:
        """The least confident predictions, lowest first; ties in the order of the images."""
        return [case for _, _, case in sorted(self._unsure, reverse=True)]

    @property
    def errors(self) -> list[Case]:
        """The most confident errors, highest first."""
        return [case for _, _, case in sorted(self._errors, reverse=True)]

    def _remember(self, heap: list[tuple[float, int, Case]], rank: float, case: Case) -> None:
        entry = (rank, -self.count, case)  # no two alike, so that cases are not compared
        if len(heap) < self.most:
            heapq.heappush(heap, entry)
        elif heap and entry > heap[0]:
            heapq.heapreplace(heap, entry)

    def _true_class(self, path: str) -> int | None:
        folders = PurePosixPath(nfc(spelt(path))).parts[:-1]
        return next((self._numbers[name] for name in reversed(folders) if name in self._numbers), None)
