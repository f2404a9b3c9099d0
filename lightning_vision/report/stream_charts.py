"""The charts of accuracy over the experiences of the stream, on the whole test set and on each test part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt

from lightning_vision.report.chart import (  # fmt: skip
    SHARE,
    Chart,
    Row,
    by_method,
    finish,
    finish_panels,
    joined,
    named,
    percent,
    picked_in_legend,
    rounded,
    short_names,
    tooltips,
)
from lightning_vision.report.means import by_key
from lightning_vision.report.runs import Group, Method
from lightning_vision.terminal.wording import plural

MOST_CELLS = 20
"""Rows of an accuracy matrix; for longer streams only every second, third, ... experience is shown."""
MOST_PANELS = 24
MOST_TICKS = 12
NUMBERED_CELLS = 5
"""With at most so many rows the accuracies are written into the cells."""


def stream_chart(group: Group, methods: Sequence[str], *, seen: bool) -> Chart | None:
    """Test accuracy after each experience, a line for the mean over seeds and a band from the lowest to the highest.

    Args:
        group: The runs.
        methods: All methods of the page, for their colours.
        seen: On the classes seen so far instead of the whole test set.

    Returns:
        The chart; None if there is a single experience, or if ``seen`` gives the same chart.
    """
    rows: list[Row] = []
    for method in group.methods:
        for t, values in _through_stream(method, seen).items():
            names = [
                run.results.experiences[t - 1].name for run in method.runs if 0 < t <= len(run.results.experiences)
            ]
            rows.append({
                "c0": method.label, "c1": t, "c2": rounded(float(np.mean(values))), "c3": rounded(min(values)), "c4": rounded(max(values)),
                "c5": plural(len(values), "seed"), "c6": names[0] if names else "before the first",
            })  # fmt: skip
    told_alike = all(run.results.seen_accuracy == run.results.test_accuracy for run in group.runs)
    if len({row["c1"] for row in rows}) < 2 or (seen and told_alike):
        return None
    where = "on the classes seen so far" if seen else "on the whole test set"
    hue, shape = by_method(methods, list(dict.fromkeys(row["c0"] for row in rows)))
    pick, strength = picked_in_legend(1)
    faint = alt.when(pick).then(alt.value(0.18)).otherwise(alt.value(0))
    first, last = min(row["c1"] for row in rows), max(row["c1"] for row in rows)
    ticks = list(range(first, last + 1, -(-(last - first) // MOST_TICKS)))
    x = alt.X("c1:Q", title="experiences learned", axis=alt.Axis(values=ticks, format="d", grid=False))
    y = alt.Y("c2:Q", title=f"accuracy {where}", axis=SHARE, scale=alt.Scale(zero=False))
    told = tooltips(
        c0="method", c6="experience", c2=("mean", ".1%"), c3=("lowest", ".1%"), c4=("highest", ".1%"), c5="of"
    )
    drawn = alt.Chart(named("rows"))
    layers = [
        drawn.mark_area(opacity=1).encode(x=x, y=alt.Y("c3:Q"), y2="c4:Q", color=hue, fillOpacity=faint),
        drawn.mark_line(strokeWidth=2).encode(x=x, y=y, color=hue, strokeOpacity=strength).add_params(pick),
        drawn.mark_point(filled=True, size=70, opacity=1).encode(
            x=x, y=y, color=hue, shape=shape, fillOpacity=strength, tooltip=told
        ),
    ]
    ends = ", ".join(f"{label} {percent(row['c2'])}" for label, row in {row["c0"]: row for row in rows}.items())
    return Chart(
        name="experiences-seen" if seen else "experiences",
        title=f"Accuracy over the experiences, {where}",
        words=f"Accuracy {where} after each experience. At the end: {ends}.",
        spec=finish(layers, {"rows": rows}, height=340),
        datasets={"rows": rows},
        headings=("method", "experiences", "name of the last", "mean", "lowest seed", "highest seed", "of"),
        rows=[(row["c0"], str(row["c1"]), row["c6"], percent(row["c2"]), percent(row["c3"]), percent(row["c4"]), row["c5"]) for row in rows],
        note="Lines: means over seeds. Bands: from the lowest to the highest seed; they are not confidence intervals, since they do not include the spread over test images.",
    )  # fmt: skip


def matrix_chart(group: Group) -> Chart | None:
    """The accuracy matrices side by side, averaged over seeds; None if there is a single experience."""
    rows: list[Row] = []
    length = max((len(run.results.accuracy_matrix) for run in group.runs), default=0)
    every = -(-length // MOST_CELLS)
    shown = short_names([method.label for method in group.methods[:MOST_PANELS]])
    for method in group.methods[:MOST_PANELS]:
        mean, names = _mean_matrix(method)
        for t, i in np.argwhere(~np.isnan(mean)).tolist():
            if (length - 1 - t) % every == 0 and (length - 1 - i) % every == 0:  # the last row is always shown
                rows.append({
                    "c0": shown[method.label], "c1": i + 1, "c2": t + 1, "c3": rounded(mean[t, i], 4),
                    "c4": names.get(i, ""), "c5": method.label,
                })  # fmt: skip
    if length < 2 or not rows:
        return None
    x = alt.X("c1:O", title=None, axis=alt.Axis(labelAngle=0))
    y = alt.Y("c2:O", title="after experience")
    scale = alt.Scale(scheme="viridis", domain=[0, 1])
    told = tooltips(c5="method", c2="after experience", c1="test part of", c4="name", c3=("accuracy", ".1%"))
    cells = alt.Chart().mark_rect().encode(
        x=x, y=y, tooltip=told,
        color=alt.Color("c3:Q", title="accuracy", scale=scale, legend=alt.Legend(format="%", gradientLength=180)),
    )  # fmt: skip
    layers: list[Any] = [cells]
    if length <= NUMBERED_CELLS:
        ink = alt.when("datum.c3 > 0.55").then(alt.value("#000000")).otherwise(alt.value("#ffffff"))
        layers.append(
            alt.Chart().mark_text(fontSize=11).encode(x=x, y=y, text=alt.Text("c3:Q", format=".0%"), color=ink)
        )
    side = max(150, 11 * -(-length // every))
    left = len(group.methods) - len(shown)
    notes = [
        "Rows: after each experience. Columns: test part of each experience. Forgetting appears as a decrease down a column. Means over seeds.",
        f"One experience in {every} is shown." if every > 1 else "",
        f"{plural(left, 'method')} with lower accuracy are not shown." if left else "",
    ]
    return Chart(
        name="accuracy-matrices",
        title="Accuracy matrices",
        words="Heat maps of the accuracy after each experience on the test part of each. The table gives the last row of each.",
        spec=finish_panels(alt.layer(*layers), "rows", list(shown.values()), width=side, height=side),
        datasets={"rows": rows},
        headings=("method", "after experience", "test part of", "name", "accuracy"),
        rows=[(row["c5"], str(row["c2"]), str(row["c1"]), row["c4"], percent(row["c3"])) for row in rows if row["c2"] == length],
        note=joined(*notes),
    )  # fmt: skip


def _through_stream(method: Method, seen: bool) -> dict[int, list[float]]:
    """Accuracies of the seeds by the number of experiences learned, in its order; those not defined are left out."""
    pairs: list[tuple[int, float | None]] = []
    for results in (run.results for run in method.runs):
        pairs += [] if seen else [(0, results.initial_accuracy)]
        pairs += enumerate(results.seen_accuracy if seen else results.test_accuracy, start=1)
    return dict(sorted(by_key(pairs).items()))


def _mean_matrix(method: Method) -> tuple[npt.NDArray[np.float64], dict[int, str]]:
    """R averaged over the seeds that have an entry, NaN where none has; and the experiences' names."""
    matrices = [np.array(run.results.accuracy_matrix, dtype=np.float64) for run in method.runs]
    shape = tuple(max(matrix.shape[axis] for matrix in matrices) for axis in (0, 1))
    stack = np.full((len(matrices), *shape), np.nan)
    for one, matrix in zip(stack, matrices, strict=True):
        one[: matrix.shape[0], : matrix.shape[1]] = matrix
    mean = np.ma.masked_invalid(stack).mean(axis=0).filled(np.nan)
    longest = max(method.runs, key=lambda run: len(run.results.experiences))
    return mean, {record.index: record.name for record in longest.results.experiences}
