"""The answer: which method is best, by how much, and whether the seeds can tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lightning_vision.report.fronts import front_points
from lightning_vision.report.runs import Method, RankedMethod, Ranking, ReportRun, Verdict
from lightning_vision.report.statistics import ALPHA, FEWEST_SEEDS, PairTest, all_pairs, t_interval
from lightning_vision.samples import plural


def best_first(methods: Sequence[Method]) -> list[Method]:
    """By mean test accuracy after the last experience; ties by label, methods without a complete run last."""

    def place(method: Method) -> tuple[bool, float, str]:
        return not method.complete, -_mean([run.accuracy for run in method.complete]) if method.complete else 0.0, method.label  # fmt: skip

    return sorted(methods, key=place)


def rank(methods: Sequence[Method], bases: Sequence[ReportRun]) -> Ranking:
    """Rank the methods that have a complete run.

    Args:
        methods: Learning strategies on the same test pictures.
        bases: Runs of the base alone, for the front of accuracy against cost.
    """
    ranked = [method for method in best_first(methods) if method.complete]
    if not ranked:
        return Ranking([], "No run is complete yet, so there is nothing to rank.", False)
    by_seed = {
        method.label: {run.seed: run.accuracy for run in method.complete if run.accuracy is not None}
        for method in ranked
    }
    pictures = sum(scores["support"] for scores in ranked[0].complete[0].results.test.per_class.values())
    tests = all_pairs(by_seed, resolution=1 / max(1, pictures))
    fronts = {
        cost: {point.label for point in front_points(ranked, bases, cost) if point.kind != "base" and point.on_front}
        for cost in ("energy", "time")
    }  # fmt: skip
    best = ranked[0].label
    rows = [
        _row(method, tests.get((method.label, best)), method.label in fronts["energy"], method.label in fronts["time"])
        for method in ranked
    ]
    can_tell = any(test.p_value is not None for test in tests.values())
    return Ranking(rows, _words(rows), can_tell)


def _row(method: Method, against_best: PairTest | None, on_energy: bool, on_time: bool) -> RankedMethod:
    runs = method.complete
    accuracy = t_interval([run.accuracy for run in runs if run.accuracy is not None])
    difference = None if against_best is None else against_best.difference
    network = runs[0].results.network
    return RankedMethod(
        label=method.label,
        strategy=method.strategy,
        seeds=[run.seed for run in runs],
        mean=accuracy.mean,
        low=None if accuracy.low is None else max(0.0, accuracy.low),
        high=None if accuracy.high is None else min(1.0, accuracy.high),
        difference=None if difference is None else difference.mean,
        difference_low=None if difference is None else difference.low,
        difference_high=None if difference is None else difference.high,
        p_value=None if against_best is None else against_best.p_value,
        p_holm=None if against_best is None else against_best.p_holm,
        verdict=_verdict(against_best),
        average_incremental=_mean_if_known([run.results.average_incremental_accuracy for run in runs]),
        forgetting=_mean_if_known([run.results.forgetting for run in runs]),
        total_parameters=network.total_parameters,
        trainable_parameters=max(run.trainable_parameters for run in runs),
        macs=network.macs,
        epochs=_mean([run.epochs for run in runs]),
        fit_seconds=_mean([run.learning_seconds for run in runs]),
        energy_kwh=_mean_if_known([run.energy_kwh for run in runs]),
        co2eq_kg=_mean_if_known([run.co2eq_kg for run in runs]),
        on_front_energy=on_energy,
        on_front_time=on_time,
    )


def _verdict(against_best: PairTest | None) -> Verdict:
    if against_best is None:
        return "best"
    if against_best.p_holm is None:
        return "cannot tell"
    return "different" if against_best.p_holm < ALPHA else "not told apart"


def _words(rows: Sequence[RankedMethod]) -> str:
    best, others = rows[0], rows[1:]
    interval = "" if best.low is None or best.high is None else f"; 95 % interval {100 * best.low:.1f} to {100 * best.high:.1f} %"  # fmt: skip
    reached = (
        f"{100 * best.mean:.1f} % of the test pictures right (mean of {plural(len(best.seeds), 'seed')}{interval})"
    )
    if not others:
        return f"{best.label} ends with {reached}. There is no other method to compare it with."
    said: dict[str, list[str]] = {"better": [], "worse": [], "not told apart": [], "cannot tell": []}
    for row in others:
        side = "worse" if (row.difference or 0.0) < 0 else "better"
        said[side if row.verdict == "different" else row.verdict].append(row.label)
    if len(said["worse"]) == len(others):
        least = min(-(row.difference or 0.0) for row in others)
        points = f"{100 * least:.1f} points more than"
        if len(others) == 1:
            real = f"{points} {others[0].label}, and the difference is"
        else:
            real = f"at least {points} each of the {len(others)} others, and the differences are"
        return f"{best.label} is best, with {reached}: {real} larger than chance between seeds explains."
    text = f"{best.label} has the highest mean, with {reached}."
    if said["not told apart"]:
        text += f" The seeds do not tell it apart from {_listed(said['not told apart'])}."
    if said["worse"]:
        text += f" It is better than {_listed(said['worse'])} by more than chance between seeds explains."
    if said["better"]:
        text += (
            f" On the seeds that both have it is worse than {_listed(said['better'])} by more than chance explains: its mean "
            "is over other seeds."
        )
    if said["cannot tell"]:
        whom = "the others" if len(said["cannot tell"]) == len(others) else _listed(said["cannot tell"])
        text += f" Whether it is really better than {whom} nobody can tell: that takes at least {FEWEST_SEEDS} seeds that both have."
    return text


def _listed(labels: Sequence[str], most: int = 6) -> str:
    if len(labels) > most:
        return f"{', '.join(labels[:most])} and {len(labels) - most} more"
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"


def _mean(values: Sequence[float | None]) -> float:
    return float(np.mean([value for value in values if value is not None]))


def _mean_if_known(values: Sequence[float | None]) -> float | None:
    """The mean, or None if any is not known: a mean over other runs would be compared with those of all."""
    return None if any(value is None for value in values) else _mean(values)
