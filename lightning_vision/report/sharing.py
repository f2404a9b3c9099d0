"""The total cost of all runs of a report, and what sharing bases and features saved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_vision.report.runs import GatheredRuns, ReportRun
from lightning_vision.report.tuning import TuningCost, tuning_cost
from lightning_vision.results.schema import Base, Totals
from lightning_vision.terminal.wording import plural


@dataclass(frozen=True)
class Spent:
    """Time, images, energy and greenhouse gas; energy is that of the runs in which it was tracked."""

    seconds: float
    images: int | None
    """Images that were run through the backbone; None if it is not known."""
    energy_kwh: float | None
    co2eq_kg: float | None


@dataclass(frozen=True)
class Savings:
    """The totals of a report."""

    runs: int
    """Bases included."""
    spent: Spent
    """Of learning and evaluating, in all of them."""
    tuning: TuningCost | None
    """Of the trials, which are not among the runs; None if nothing was tuned."""
    total: Spent
    """Of the runs and the trials."""
    untracked: int
    """Runs whose energy is not known, or not all of it."""
    bases: int
    """Bases that others start from."""
    base_users: int
    """Runs that start from one of them."""
    bases_not_trained: int
    """How often a base was not trained once more: each of its users but the first, or all where it is a run of its own."""
    saved_by_bases: Spent
    """What training those would have taken."""
    bases_elsewhere: int
    """Runs that start from a base which is not among these runs: what they saved is not known."""
    passes_saved: int
    """Images that were not run through the backbone, since the feature cache had their features."""
    seconds_saved_by_features: float
    """The time that they would have taken."""

    @property
    def words_on_energy(self) -> str:
        """What the totals lack, in a sentence; empty if they lack nothing."""
        if not self.untracked:
            return ""
        return f"The energy of {plural(self.untracked, 'run')} was not tracked, or not all of it, and what is missing is not included in the totals."


def savings(comparison: GatheredRuns) -> Savings:
    """Add up the cost of the runs, and what sharing saved."""
    runs = [run for group in comparison.groups for run in (*group.bases, *group.runs)]
    used: dict[ReportRun, int] = {}
    elsewhere = 0
    for run in runs:
        if run.results.base.from_checkpoint is None:
            continue
        base = _base_of(run, runs)
        if base is None:
            elsewhere += 1
        else:
            used[base] = used.get(base, 0) + 1
    spared = {base: count - base.is_base for base, count in used.items()}
    features = [run.results.features for run in runs if run.results.features is not None]
    spent = _added([(1, run.results.totals) for run in runs])
    tuning = tuning_cost(comparison.tunings) if comparison.tunings else None
    return Savings(
        runs=len(runs),
        spent=spent,
        tuning=tuning,
        total=spent if tuning is None else _together(spent, tuning),
        untracked=sum(run.results.without_energy > 0 for run in runs),
        bases=len(used),
        base_users=sum(used.values()),
        bases_not_trained=sum(spared.values()),
        saved_by_bases=_added([(count, base.results.base) for base, count in spared.items()]),
        bases_elsewhere=elsewhere,
        passes_saved=sum(record.reused for record in features),
        seconds_saved_by_features=sum(record.saved_seconds for record in features),
    )


def _together(runs: Spent, tuning: TuningCost) -> Spent:
    """The sum; what is not known of the one or the other is not known of both."""

    def total(one: float | None, other: float | None) -> float | None:
        return None if one is None or other is None else one + other

    images = None if runs.images is None or tuning.images is None else runs.images + tuning.images
    return Spent(
        runs.seconds + tuning.seconds, images, total(runs.energy_kwh, tuning.energy_kwh), total(runs.co2eq_kg, tuning.co2eq_kg)
    )  # fmt: skip


def _base_of(run: ReportRun, runs: Sequence[ReportRun]) -> ReportRun | None:
    """The run that trained the base which a run starts from.

    Found by its path or, since folders are moved and paths may be relative, by the name of its run directory, where one
    run alone has it or one alone in the same comparison.
    """
    directory = Path(run.results.base.from_checkpoint or "").parent.parent
    able = [other for other in runs if other.trained_base and other.path.name == directory.name]
    exact = [other for other in able if other.path.resolve() == directory.resolve()]
    near = [other for other in able if other.path.resolve().parent.parent == run.path.resolve().parent.parent]
    for candidates in (exact, able, near):
        if len(candidates) == 1:
            return candidates[0]
    return None


def _added(costs: Sequence[tuple[int, Base | Totals]]) -> Spent:
    """The sum of costs, each so many times."""

    def total(values: Iterable[float | None]) -> float | None:
        known = [count * value for (count, _), value in zip(costs, values, strict=True) if value is not None]
        return sum(known) if known else None

    images = [count * cost.backbone_images for count, cost in costs if isinstance(cost, Totals)]
    return Spent(
        seconds=sum(count * cost.seconds for count, cost in costs),
        images=sum(images) if len(images) == len(costs) else None,
        energy_kwh=total(cost.energy_kwh for _, cost in costs),
        co2eq_kg=total(cost.co2eq_kg for _, cost in costs),
    )
