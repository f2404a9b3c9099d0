"""The charts of an epsilon sweep: accuracy, recall per class and n*epsilon, each against epsilon."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import fmean

import altair as alt

from lightning_vision.report.chart import GREY, SHARE, Chart, Row, by_method, finish, named, percent, rounded, tooltips
from lightning_vision.report.means import by_key, mean_of_known
from lightning_vision.report.runs import Group, Method
from lightning_vision.results.schema import Variant
from lightning_vision.terminal.wording import figure

MOST_METHODS = 3
"""Methods whose classes are drawn separately."""


def sweep_charts(group: Group, methods: Sequence[str]) -> list[Chart]:
    """Three charts if a method predicted with several epsilons; none otherwise.

    Args:
        group: The runs.
        methods: All methods of the page, for their colours.
    """
    swept = [method for method in group.methods if any(_epsilons(run.results.variants) for run in method.runs)]
    if not swept:
        return []
    charts = [_accuracy(swept, methods)]
    for number, method in enumerate(swept[:MOST_METHODS]):
        suffix, whose = (f"-{number + 1}", f" of {method.label}") if len(swept) > 1 else ("", "")
        charts.append(_recall(method, f"sweep-recall{suffix}", f"Recall of each class against epsilon{whose}"))
        charts += _n_epsilon(method, f"sweep-n-epsilon{suffix}", f"n times epsilon{whose}")
    return charts


def _epsilons(variants: dict[str, Variant]) -> dict[float, Variant]:
    """The variants by epsilon, ascending."""
    found = {
        variant.value: variant
        for variant in variants.values()
        if variant.key == "epsilon" and isinstance(variant.value, float)
    }
    return dict(sorted(found.items()))


def _over_seeds(
    method: Method, measure: Callable[[Variant], dict[str, float | None]]
) -> dict[float, dict[str, list[float]]]:
    """What ``measure`` finds for each name, over the seeds, by epsilon."""
    variants = [item for run in method.complete or method.runs for item in _epsilons(run.results.variants).items()]
    return {
        epsilon: by_key(item for each, variant in variants if each == epsilon for item in measure(variant).items())
        for epsilon in sorted({epsilon for epsilon, _ in variants})
    }


def _edge(epsilons: Sequence[float]) -> float:
    """Where an epsilon of 0 is drawn on the logarithmic axis."""
    return min((epsilon for epsilon in epsilons if epsilon > 0), default=1.0) / 10


def _axis(epsilons: Sequence[float]) -> tuple[alt.X, str]:
    """The logarithmic axis of c1, and a word on an epsilon of 0."""
    drawn = [epsilon or _edge(epsilons) for epsilon in epsilons]
    scale = alt.Scale(type="log", domain=[min(drawn) / 1.3, max(drawn) * 1.3], nice=False)
    zero = f" An epsilon of 0 is drawn at {figure(_edge(epsilons))}." if 0 in epsilons else ""
    return alt.X(
        "c1:Q", title="epsilon (logarithmic)", scale=scale, axis=alt.Axis(format="~e", tickCount=6, grid=False)
    ), zero


def _picked(method: Method) -> Iterator[str]:
    """The variant that was picked on validation data after the last experience, by seed."""
    for run in method.runs:
        last = (run.results.picked_variant or [None])[-1]
        if last:
            yield f"{last} (seed {run.seed})"


def _accuracy(swept: Sequence[Method], methods: Sequence[str]) -> Chart:
    rows: list[Row] = []
    epsilons: set[float] = set()
    for method in swept:
        found = _over_seeds(method, lambda variant: {"": variant.test_accuracy[-1]})
        epsilons |= found.keys()
        rows += [
            {"c0": method.label, "c1": epsilon or _edge(list(found)), "c2": rounded(fmean(of[""])), "c3": rounded(min(of[""])), "c4": rounded(max(of[""])), "c5": figure(epsilon)}
            for epsilon, of in found.items() if of
        ]  # fmt: skip
    before = mean_of_known(run.results.accuracy_before for method in swept for run in method.runs)
    bases: list[Row] = [] if before is None else [{"c2": rounded(before), "c5": f"base {percent(before)}"}]
    datasets = {"rows": rows, "bases": bases}
    x, zero = _axis(sorted(epsilons))
    y = alt.Y("c2:Q", title="test accuracy", axis=SHARE, scale=alt.Scale(zero=False))
    hue, shape = by_method(methods, [method.label for method in swept])
    told = tooltips(c0="method", c5="epsilon", c2=("mean", ".1%"))
    base, drawn = alt.Chart(named("bases")), alt.Chart(named("rows"))
    layers = [
        base.mark_rule(strokeDash=[6, 4], color=GREY, strokeWidth=1.5).encode(y=y),
        base.mark_text(align="left", dx=4, dy=-8).encode(x=alt.value(0), y=y, text="c5:N"),
        drawn.mark_area(opacity=1, fillOpacity=0.18).encode(x=x, y="c3:Q", y2="c4:Q", color=hue),
        drawn.mark_line(strokeWidth=2).encode(x=x, y=y, color=hue),
        drawn.mark_point(filled=True, size=80, opacity=1).encode(x=x, y=y, color=hue, shape=shape, tooltip=told),
    ]
    best = max(rows, key=lambda row: row["c2"], default=None)
    picked = ", ".join(choice for method in swept for choice in _picked(method))
    return Chart(
        name="sweep-accuracy",
        title="Accuracy against epsilon",
        words=f"Test accuracy against epsilon. Highest: {percent(best['c2'])} at {best['c5']}; the base {percent(before)}." if best else "No accuracy is known.",
        spec=finish(layers, datasets, height=300),
        datasets=datasets,
        headings=("method", "epsilon", "mean", "lowest seed", "highest seed"),
        rows=[(row["c0"], row["c5"], percent(row["c2"]), percent(row["c3"]), percent(row["c4"])) for row in rows],
        note=f"Band: from the lowest to the highest seed; it is not a confidence interval. Each epsilon is used for the whole stream.{zero} Picked on validation data: {picked or 'none'}.",
    )  # fmt: skip


def _recall(method: Method, name: str, title: str) -> Chart:
    found = _over_seeds(method, lambda variant: {of: scores["recall"] for of, scores in variant.test.per_class.items()})
    y = alt.Y("c2:Q", title="recall", axis=SHARE)
    note = "Thin lines: one per class; thick line: their mean over classes and seeds. Dashed: the mean of the base."
    before = mean_of_known(
        scores["recall"] for run in method.runs for scores in run.results.first_test.per_class.values()
    )
    return _lines(name, title, found, y, note, percent, None if before is None else (before, f"base {percent(before)}"))


def _n_epsilon(method: Method, name: str, title: str) -> list[Chart]:
    found = _over_seeds(method, lambda variant: dict(variant.extra.get("n_epsilon", {})))
    above = {
        e: {of: values for of, values in classes.items() if fmean(values) > 0} for e, classes in found.items() if e > 0
    }
    if not any(above.values()):
        return []
    y = alt.Y(
        "c2:Q",
        title="n times epsilon (logarithmic)",
        scale=alt.Scale(type="log"),
        axis=alt.Axis(format="~e", tickCount=6, grid=False),
    )
    still = sorted(
        {of for classes in found.values() for of in classes} - {of for classes in above.values() for of in classes}
    )
    note = (
        "n is the number of images that moved a class. About exp(-n epsilon) of its old direction remains: values far below 1 change "
        "little, values far above 1 leave little. Thin lines: one per class; thick line: their mean."
        + (f" Classes that did not move: {len(still)}." if still else "")
    )  # fmt: skip
    return [_lines(name, title, above, y, note, figure, (1.0, "n epsilon = 1"))]


def _lines(
    name: str,
    title: str,
    found: dict[float, dict[str, list[float]]],
    y: alt.Y,
    note: str,
    written: Callable[[float], str],
    level: tuple[float, str] | None,
) -> Chart:
    """A thin line for each class, a thick one for their mean, and a reference level."""
    x, zero = _axis(list(found))
    means = {epsilon: {of: fmean(values) for of, values in classes.items()} for epsilon, classes in found.items()}
    rows: list[Row] = [
        {"c0": of, "c1": epsilon or _edge(list(found)), "c2": rounded(value, 4), "c5": figure(epsilon)}
        for epsilon, classes in means.items() for of, value in classes.items()
    ]  # fmt: skip
    middle: list[Row] = [
        {"c1": epsilon or _edge(list(found)), "c2": rounded(fmean(classes.values()), 4), "c5": figure(epsilon)}
        for epsilon, classes in means.items() if classes
    ]  # fmt: skip
    told = tooltips(c0="class", c5="epsilon", c2=("value", ".3g"))
    levels: list[Row] = [] if level is None else [{"c2": rounded(level[0]), "c5": level[1]}]
    datasets = {"rows": rows, "means": middle, "levels": levels}
    thin, thick, flat = alt.Chart(named("rows")), alt.Chart(named("means")), alt.Chart(named("levels"))
    layers = [
        flat.mark_rule(strokeDash=[6, 4], color=GREY, strokeWidth=1.5).encode(y=y),
        flat.mark_text(align="left", dx=4, dy=-8).encode(x=alt.value(0), y=y, text="c5:N"),
        thin.mark_line(strokeWidth=1, strokeOpacity=0.4, color=GREY).encode(x=x, y=y, detail="c0:N"),
        thin.mark_point(filled=True, size=22, opacity=1, fillOpacity=0.5, color=GREY).encode(x=x, y=y, tooltip=told),
        thick.mark_line(strokeWidth=3, color="#D55E00").encode(x=x, y=y),
    ]
    listed = [
        (figure(epsilon), written(fmean(classes.values())), *(f"{of} {written(classes[of])}" for of in (min(classes, key=classes.__getitem__), max(classes, key=classes.__getitem__))))
        for epsilon, classes in means.items() if classes
    ]  # fmt: skip
    said = "; ".join(f"epsilon {row[0]}: mean {row[1]}" for row in listed)
    return Chart(
        name=name, title=title, words=f"{title}. {said}.", spec=finish(layers, datasets, height=300), datasets=datasets,
        headings=("epsilon", "mean of the classes", "lowest class", "highest class"), rows=listed, note=note + zero,
    )  # fmt: skip
