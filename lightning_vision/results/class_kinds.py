"""The accuracy on the classes that a given base knows, and on those that are new, apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from lightning_vision.results import schema
from lightning_vision.results.predictions import Predictions


class ClassKinds:
    """Follows the accuracy of both kinds of classes over a run.

    Args:
        class_names: The C classes.
        base: Those that the base knows; None: the run allows no new classes, so there is nothing to follow.
    """

    def __init__(self, class_names: Sequence[str], base: Sequence[str] | None) -> None:
        known = None if base is None else set(base)
        self._of_base = None if known is None else np.array([name in known for name in class_names], dtype=np.bool_)
        self._names = list(class_names)
        self.found: dict[Literal["base", "new"], schema.ClassKind] | None = None

    def start(self, before: Predictions) -> None:
        """Take in what the base can before the first experience: one variant on the whole test set."""
        if self._of_base is None:
            return
        self.found = {}
        for kind, rows in self._rows(before.label).items():
            self.found[kind] = schema.ClassKind(
                classes=[name for name, old in zip(self._names, self._of_base, strict=True) if old == (kind == "base")],
                images=int(rows.sum()),
                initial_accuracy=_accuracy(before, rows),
                accuracy=[],
            )

    def measure(self, t: int, chosen: Predictions) -> None:
        """Take in the evaluation after experience ``t``, the last one, in place of an earlier one of it."""
        rows = self._rows(chosen.label)
        for kind, found in (self.found or {}).items():
            found.accuracy = [*found.accuracy[:t], _accuracy(chosen, rows[kind])]

    def _rows(self, label: npt.NDArray[np.int64]) -> dict[Literal["base", "new"], npt.NDArray[np.bool_]]:
        """(N,) the test images of each kind."""
        if self._of_base is None:
            return {}
        old = self._of_base[label]
        return {"base": old, "new": ~old}


def _accuracy(one: Predictions, rows: npt.NDArray[np.bool_]) -> float | None:
    return float((one.predicted[0] == one.label)[rows].mean()) if rows.any() else None
