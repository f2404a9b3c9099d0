"""Accuracy against cost, and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np
import numpy.typing as npt

from lightning_vision.report.means import by_key
from lightning_vision.report.runs import Method, ReportRun

Cost = Literal["energy", "time"]
BASE, RETRAIN = "Base", "Retrain"


@dataclass(frozen=True)
class FrontPoint:
    """The cost and the accuracy of one method: means over its complete runs."""

    label: str
    kind: Literal["method", "retrain", "base"]
    """Retraining on all data and the base are references for the methods."""
    accuracy: float
    """Test accuracy after the last experience; of the base: after the base."""
    cost: float
    """kWh or seconds of learning the increments; 0 for the base, which learns none of them."""
    on_front: bool

    @property
    def is_free(self) -> bool:
        """Whether its cost is 0, which a logarithmic axis cannot show."""
        return self.cost <= 0


def pareto(costs: Sequence[float], accuracies: Sequence[float]) -> npt.NDArray[np.bool_]:
    """The points on the Pareto front: no other point is at least as cheap and as accurate, and cheaper or more accurate.

    Args:
        costs: (n,) lower is better.
        accuracies: (n,) higher is better.

    Returns:
        (n,) the points on the front. Equal points are on it together.
    """
    cost, accuracy = np.asarray(costs, dtype=np.float64), np.asarray(accuracies, dtype=np.float64)
    as_good = (cost[None] <= cost[:, None]) & (accuracy[None] >= accuracy[:, None])
    better = (cost[None] < cost[:, None]) | (accuracy[None] > accuracy[:, None])
    return np.logical_not((as_good & better).any(axis=1))


def base_accuracies(methods: Sequence[Method], bases: Sequence[ReportRun]) -> dict[int, float]:
    """The base's accuracy on the whole test set by seed.

    Args:
        methods: Where there are no runs of the base alone, their first experience, or the given base's accuracy before it,
            stands for it: the mean over a seed's runs.
        bases: Runs of the base alone.
    """
    runs = bases or [run for method in methods for run in method.runs]
    found = by_key((run.seed, run.accuracy if run.is_base else run.results.accuracy_before) for run in runs)
    return {seed: fmean(values) for seed, values in sorted(found.items())}


def front_points(methods: Sequence[Method], bases: Sequence[ReportRun], cost: Cost) -> list[FrontPoint]:
    """The points of all methods whose cost is known, and of the base.

    Args:
        methods: Learning strategies; those without a complete run have no point.
        bases: Runs of the base alone; see ``base_accuracies``.
        cost: Energy in kWh, or time in seconds.
    """
    found: list[tuple[str, Literal["method", "retrain", "base"], float, float]] = []
    for method in methods:
        costs = [run.energy_kwh if cost == "energy" else run.learning_seconds for run in method.complete]
        known = [value for value in costs if value is not None]
        if known and len(known) == len(costs):
            accuracies = [run.accuracy for run in method.complete if run.accuracy is not None]
            kind: Literal["method", "retrain"] = "retrain" if method.strategy == RETRAIN else "method"
            found.append((method.label, kind, float(np.mean(accuracies)), float(np.mean(known))))
    base = base_accuracies(methods, bases)
    if base:
        found.append((BASE, "base", float(np.mean(list(base.values()))), 0.0))
    front = pareto([point[3] for point in found], [point[2] for point in found]).tolist()
    return [FrontPoint(*point, on_front) for point, on_front in zip(found, front, strict=True)]
