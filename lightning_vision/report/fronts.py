"""Accuracy against cost: the Pareto front of what can be had for how much."""

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
    """What one method costs and what it reaches: means over its complete runs."""

    label: str
    kind: Literal["method", "retrain", "base"]
    """Retraining on all data and the base alone are the ends that others are read against."""
    accuracy: float
    """Test accuracy after the last experience; of the base: after the base."""
    cost: float
    """kWh or seconds of learning the increments; 0 for the base, which learns none of them."""
    on_front: bool

    @property
    def is_free(self) -> bool:
        """Whether it costs nothing, and so has no place on a logarithmic axis."""
        return self.cost <= 0


def pareto(costs: Sequence[float], accuracies: Sequence[float]) -> npt.NDArray[np.bool_]:
    """Which of n points no other one beats: none is as cheap and as good, and cheaper or better.

    Args:
        costs: (n,) less is better.
        accuracies: (n,) more is better.

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
    """Every method's point, and the base's; methods whose cost is not known have none.

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
