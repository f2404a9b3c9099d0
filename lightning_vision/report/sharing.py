"""What all runs of a report took, and what sharing bases and features saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_vision.report.runs import Comparison, ReportRun


@dataclass(frozen=True)
class Price:
    """Time, energy and greenhouse gas; energy is that of the runs in which it was tracked."""

    seconds: float
    energy_kwh: float | None
    co2eq_kg: float | None


@dataclass(frozen=True)
class Savings:
    """The totals of a report."""

    runs: int
    """Bases included."""
    spent: Price
    """Of learning and evaluating, in all of them."""
    untracked: int
    """Runs whose energy is not known."""
    bases: int
    """Bases that others start from."""
    base_users: int
    """Runs that start from one of them."""
    bases_not_trained: int
    """How often a base was not trained once more: each of its users but the first, or all where it is a run of its own."""
    saved_by_bases: Price
    """What training those would have taken."""
    bases_elsewhere: int
    """Runs that start from a base which is not among these runs: what they saved is not known."""
    images_not_passed: int
    """Passes of the backbone that kept features of other runs stood in for."""
    saved_seconds_by_features: float
    """What those passes would have taken."""


def savings(comparison: Comparison) -> Savings:
    """Add up what runs took and what they spared each other."""
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
    return Savings(
        runs=len(runs),
        spent=Price(
            seconds=sum(run.results.totals.seconds for run in runs),
            energy_kwh=_sum([run.results.totals.energy_kwh for run in runs]),
            co2eq_kg=_sum([run.results.totals.co2eq_kg for run in runs]),
        ),
        untracked=sum(run.results.totals.energy_kwh is None for run in runs),
        bases=len(used),
        base_users=sum(used.values()),
        bases_not_trained=sum(spared.values()),
        saved_by_bases=Price(
            seconds=sum(count * base.results.base.seconds for base, count in spared.items()),
            energy_kwh=_sum([_times(count, base.results.base.energy_kwh) for base, count in spared.items()]),
            co2eq_kg=_sum([_times(count, base.results.base.co2eq_kg) for base, count in spared.items()]),
        ),
        bases_elsewhere=elsewhere,
        images_not_passed=sum(record.reused for record in features),
        saved_seconds_by_features=sum(record.saved_seconds for record in features),
    )


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


def _times(count: int, value: float | None) -> float | None:
    return None if value is None else count * value


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
