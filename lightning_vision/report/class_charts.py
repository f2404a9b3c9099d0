"""The charts of forgetting per class, and of predictions that updates changed."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import altair as alt

from lightning_vision.report.changes import ClassChange, Flips
from lightning_vision.report.chart import (  # fmt: skip
    Chart,
    Row,
    by_method,
    finish,
    finish_panels,
    named,
    picked_in_legend,
    rounded,
    short_names,
    tooltips,
)
from lightning_vision.report.means import by_key
from lightning_vision.terminal.wording import plural

MOST_CLASSES = 30
MOST_ROWS = 1000
"""Classes in the table below the chart; per_class.csv has all."""
MOST_PANELS = 24
LOST, WON = "correct before, wrong after", "wrong before, correct after"
ORANGE, BLUE = "#D55E00", "#3A93D0"


def mean_forgetting(changes: Sequence[Sequence[ClassChange]]) -> dict[str, float]:
    """Forgetting of each class, averaged over the seeds for which it is defined.

    Args:
        changes: Of each seed.
    """
    found = by_key((change.name, change.forgetting) for of_seed in changes for change in of_seed)
    return {name: fmean(values) for name, values in found.items()}


def forgetting_chart(forgetting: dict[str, dict[str, float]], methods: Sequence[str]) -> Chart | None:
    """Forgetting of each class: a row per class, a point per method; None if nothing is defined.

    Args:
        forgetting: By method and class name; see ``mean_forgetting``.
        methods: All methods of the page, for their colours.
    """
    by_class = by_key(item for of_method in forgetting.values() for item in of_method.items())
    if not by_class:
        return None
    worst = sorted(by_class, key=lambda name: -fmean(by_class[name]))
    shown = worst[:MOST_CLASSES]
    rows: list[Row] = [
        {"c0": method, "c1": name, "c2": rounded(100 * of_method[name], 4)}
        for method, of_method in forgetting.items()
        for name in shown
        if name in of_method
    ]
    datasets: dict[str, list[Row]] = {"rows": rows, "zero": [{"c2": 0}]}
    hue, shape = by_method(methods, [method for method, of_method in forgetting.items() if of_method])
    pick, strength = picked_in_legend()
    y = alt.Y("c1:N", sort=shown, title=None, axis=alt.Axis(grid=True, labelOverlap=False))
    x = alt.X("c2:Q", title="forgetting (points of recall)", axis=alt.Axis(orient="top"))
    told = tooltips(c1="class", c0="method", c2=("points", ".1f"))
    layers = [
        alt.Chart(named("zero")).mark_rule().encode(x="c2:Q"),
        alt.Chart(named("rows"))
        .mark_point(filled=True, size=75, opacity=1)
        .encode(x=x, y=y, color=hue, shape=shape, fillOpacity=strength, tooltip=told)
        .add_params(pick),
    ]
    said = ", ".join(f"{name} {fmean(by_class[name]) * 100:.1f}" for name in shown[:5])
    return Chart(
        name="forgetting",
        title="Forgetting per class",
        words=f"Forgetting of each class by method, worst first. Means over methods, in points of recall: {said}.",
        spec=finish(layers, datasets, height=20 * len(shown)),
        datasets=datasets,
        headings=("class", *forgetting),
        rows=[
            (name, *(f"{100 * of[name]:.1f}" if name in of else "" for of in forgetting.values()))
            for name in worst[:MOST_ROWS]
        ],
        note="Best earlier recall minus the last, means over seeds. Classes are sorted by the mean over methods, the most forgotten first; below 0 a class improved. "
        + _left_out(len(worst), len(shown)),
    )


def _left_out(classes: int, shown: int) -> str:
    """What the chart of forgetting does not show of its classes, in words."""
    if classes <= shown:
        return ""
    if classes <= MOST_ROWS:
        return f"The table has {classes - shown} more classes."
    return f"The chart has {shown} and the table {MOST_ROWS:,} of {classes:,} classes; all are in per_class.csv."


def flips_chart(flips: dict[str, list[list[Flips]]]) -> Chart | None:
    """Test images whose prediction each update changed, gained above and lost below; None if there are none.

    Args:
        flips: By method, of each seed.
    """
    shown = short_names(list(flips)[:MOST_PANELS])
    rows: list[Row] = []
    listed = []
    for method, panel in shown.items():
        by_update: dict[int, list[Flips]] = {}
        for update in (update for of_seed in flips[method] for update in of_seed):
            by_update.setdefault(update.experience, []).append(update)
        for experience, updates in sorted(by_update.items()):
            won, lost = fmean(update.won for update in updates), fmean(update.lost for update in updates)
            name = updates[0].name
            for side, count, height in ((WON, won, won), (LOST, lost, -lost)):
                rows.append({"c0": panel, "c1": experience + 1, "c2": rounded(height), "c3": side, "c4": name, "c5": rounded(count), "c6": method})  # fmt: skip
            listed.append((method, str(experience + 1), name, f"{won:.1f}", f"{lost:.1f}", f"{won - lost:+.1f}"))
    if not rows:
        return None
    longest = max(row["c1"] for row in rows)
    scale = alt.Scale(domain=[WON, LOST], range=[BLUE, ORANGE])
    bars = alt.Chart().mark_bar().encode(
        x=alt.X("c1:O", title="experience", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("c2:Q", title="test images"),
        color=alt.Color("c3:N", scale=scale, legend=alt.Legend(title=None)),
        tooltip=tooltips(c6="method", c4="update", c3="images", c5=("number", ".1f")),
    )  # fmt: skip
    left = len(flips) - len(shown)
    totals = {method: sum(row["c2"] for row in rows if row["c6"] == method) for method in shown}
    said = ", ".join(f"{method} {total:+.0f}" for method, total in totals.items())
    return Chart(
        name="flips",
        title="Images whose prediction an update changed",
        words=f"Test images gained and lost by each update, a panel per method. Gained minus lost in total: {said}.",
        spec=finish_panels(bars, "rows", list(shown.values()), width=max(150, min(240, 26 * longest)), height=130),
        datasets={"rows": rows},
        headings=("method", "experience", "name", "gained", "lost", "difference"),
        rows=listed,
        note="Above 0: wrong before the update and correct after it; below 0: correct before and wrong after. Means over seeds. "
        + (f"{plural(left, 'method')} with lower accuracy are not shown." if left else ""),
    )
