"""One group of runs on the page: its charts, its scenario card, and images whose prediction changed."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_vision.report.card import Fact, run_notes, scenario_card
from lightning_vision.report.changes import FlippedImage, Flips, class_changes, flips
from lightning_vision.report.chart import Chart
from lightning_vision.report.class_charts import flips_chart, forgetting_chart, mean_forgetting
from lightning_vision.report.confusions import confusion_data
from lightning_vision.report.costs import cost_chart
from lightning_vision.report.folds import fold_of
from lightning_vision.report.learning_curves import curve_charts
from lightning_vision.report.matrices import match, matrix_of
from lightning_vision.report.probe_chart import probe_chart
from lightning_vision.report.proportion import mcnemar
from lightning_vision.report.runs import Group, Method, ReportRun
from lightning_vision.report.stream_charts import matrix_chart, stream_chart
from lightning_vision.report.sweeps import sweep_charts
from lightning_vision.terminal.wording import few, plural

MOST_METHODS_IMAGED = 4
IMAGES_OF_A_KIND = 8


@dataclass(frozen=True)
class Thumbnail:
    """A test image whose prediction an update changed."""

    uri: str
    alt: str
    label: str
    taken_for: str
    """The wrong class, before the update or after it."""


@dataclass(frozen=True)
class Flipped:
    """Images whose prediction the last update of one run changed."""

    name: str
    lost: list[Thumbnail]
    won: list[Thumbnail]


@dataclass(frozen=True)
class Section:
    """One group on the page."""

    id: str
    group: Group
    costs: list[Chart]
    without_cost: list[str]
    curves: list[Chart]
    learning: list[Chart]
    flipped: list[Flipped]
    sweep: list[Chart]
    confusion: dict[str, Any]
    card: list[Fact]
    notes: list[str]
    two_models: str

    @property
    def is_folded(self) -> bool:
        """Whether it is a cross-validation."""
        return any(fold_of(run.results) is not None for run in self.group.runs)

    @property
    def has_tasks(self) -> bool:
        """Whether a ranked method has an accuracy with the experience of each image given."""
        return any(row.task_accuracy is not None for row in self.group.ranking.methods)

    @property
    def is_online(self) -> bool:
        """Whether a ranked method has an average anytime accuracy."""
        return any(row.average_anytime is not None for row in self.group.ranking.methods)

    @property
    def has_probe(self) -> bool:
        """Whether a ranked method has a linear probe."""
        return any(row.probe_accuracy is not None for row in self.group.ranking.methods)

    @property
    def without_gap(self) -> list[str]:
        """Why the share of the gap is not defined, and for which methods."""
        by_why: dict[str, list[str]] = {}
        for row in self.group.ranking.methods:
            if row.gap.why and not row.gap.why.startswith("there is no"):
                by_why.setdefault(row.gap.why, []).append(row.label)
        return [f"The share of the gap is not defined for {few(labels)}: {why}." for why, labels in by_why.items()]

    @property
    def charts(self) -> list[Chart]:
        """All charts, in the order of the page."""
        return [*self.costs, *self.curves, *self.learning, *self.sweep]

    @property
    def parts(self) -> list[tuple[str, str]]:
        """The entries of the navigation: the ends of ids, and titles."""
        sweep = [("sweep", "Epsilon")] if self.sweep else []
        return [
            ("ranking", "Ranking"), ("cost", "Cost"), ("learning", "Learning"), *sweep,
            ("confusion", "Confusion"), ("card", "Scenario card"),
        ]  # fmt: skip


def group_section(
    group: Group, section_id: str, methods: Sequence[str], images: Callable[[ReportRun, int], bytes | None] | None
) -> Section:
    """Prepare what the page shows of a group.

    Args:
        group: Its runs.
        section_id: Prefix of all ids of the section.
        methods: All methods of the page, for their colours.
        images: Returns test images as JPEG; None: none are shown.
    """
    by_cost = {cost: cost_chart(group, methods, cost) for cost in ("energy", "time")}
    turned = {method.label: [found for run in method.runs if (found := flips(run))] for method in group.methods}
    forgetting = {
        method.label: mean_forgetting([class_changes(run) for run in method.complete or method.runs])
        for method in group.methods
    }
    over_stream = [stream_chart(group, methods, seen=seen) for seen in (False, True)]
    learning = [probe_chart(group), matrix_chart(group), forgetting_chart(forgetting, methods), flips_chart(turned)]
    return Section(
        id=section_id,
        group=group,
        costs=_drawn(by_cost.values()),
        without_cost=[f"The {cost} of learning is not known, or zero." for cost, chart in by_cost.items() if chart is None],
        curves=[*curve_charts(group, methods), *_drawn(over_stream)],
        learning=_drawn(learning),
        flipped=[] if images is None else _flipped(group, turned, images),
        sweep=sweep_charts(group, methods),
        confusion=confusion_data(group),
        card=scenario_card(group),
        notes=run_notes(group),
        two_models=_two_models(group),
    )  # fmt: skip


def _drawn(charts: Any) -> list[Chart]:
    return [chart for chart in charts if chart is not None]


def _flipped(
    group: Group, turned: dict[str, list[list[Flips]]], images: Callable[[ReportRun, int], bytes | None]
) -> list[Flipped]:
    found = []
    for method in group.methods[:MOST_METHODS_IMAGED]:
        if not turned[method.label]:
            continue
        run, last = _first_with_predictions(method), turned[method.label][0][-1]
        lost, won = (_thumbnails(run, of, images) for of in (last.confident_lost, last.confident_won))
        if lost or won:
            found.append(Flipped(f"{method.label}, seed {run.seed}", lost, won))
    return found


def _first_with_predictions(method: Method) -> ReportRun:
    return next(run for run in method.runs if flips(run, shown=0))


def _thumbnails(
    run: ReportRun, flipped: Sequence[FlippedImage], images: Callable[[ReportRun, int], bytes | None]
) -> list[Thumbnail]:
    found = []
    for one in flipped[:IMAGES_OF_A_KIND]:
        jpeg = images(run, one.row)
        if jpeg is not None:
            uri = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
            wrong = one.after if one.after != one.label else one.before
            found.append(Thumbnail(uri, f"A test image of {one.label}", one.label, wrong))
    return found


def _two_models(group: Group) -> str:
    """McNemar's test between the models of the first two methods, in words; empty unless they have exactly one common seed."""
    ranked = [method for method in group.methods if method.complete][:2]
    if len(ranked) < 2:
        return ""
    first, second = ({run.seed: run for run in method.complete} for method in ranked)
    common = sorted(first.keys() & second.keys())
    matched = match(*(matrix_of([of[common[0]]]) for of in (first, second))) if len(common) == 1 else None
    if matched is None:
        return ""
    ahead, behind = int((matched.first & ~matched.second).sum()), int((matched.second & ~matched.first).sum())
    return (
        f"Two trained models, of seed {common[0]}: of {plural(matched.first.shape[1], 'test image')}, only {ranked[0].label} classifies "
        f"{ahead} correctly and only {ranked[1].label} {behind} (exact McNemar test, p = {mcnemar(ahead, behind):.2g}). This holds for "
        "these two models and not for the methods: another seed gives other models."
    )  # fmt: skip
