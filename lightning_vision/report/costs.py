"""The charts of accuracy against cost, with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Literal

import altair as alt

from lightning_vision.report.chart import (
    GREY,
    SHARE,
    Chart,
    Row,
    by_method,
    finish,
    joined,
    named,
    percent,
    rounded,
    tooltips,
)
from lightning_vision.report.fronts import BASE, RETRAIN, Cost, front_points
from lightning_vision.report.runs import Group
from lightning_vision.terminal.wording import figure, plural

MOST_NAMED = 8
"""With at most so many points each is labelled; with more, only the front, Retrain and the base."""
SIDES: dict[str, tuple[Literal["left", "right"], int, int]] = {
    "upper right": ("left", 10, -8),
    "lower right": ("left", 10, 12),
    "upper left": ("right", -10, -8),
    "lower left": ("right", -10, 12),
}
"""Positions for the label of a point: its alignment, and pixels to the right and down."""
_WIDTH, _HEIGHT, _LETTER, _LINE = 460, 330, 7, 12
"""Pixels, about: of the drawing in a page, of a letter, of a line."""


def cost_chart(group: Group, methods: Sequence[str], cost: Cost) -> Chart | None:
    """Accuracy against the cost of learning the increments; None if no method has a known cost above 0.

    Args:
        group: What is ranked.
        methods: All methods of the page, for their colours.
        cost: On the logarithmic axis. Methods without cost are drawn at its left edge.
    """
    unit, what = ("kWh", "energy") if cost == "energy" else ("s", "time")
    points = front_points(group.methods, group.bases, cost)
    above = [point.cost for point in points if not point.is_free]
    if not above:
        return None
    few = len(points) <= MOST_NAMED + 1
    edge, end = min(above) / 3, max(above) * (6 if few else 2)
    intervals = {one.label: (one.accuracy.low, one.accuracy.high) for one in group.ranking.methods}
    rows: list[Row] = []
    for point in points:
        low, high = intervals.get(point.label, (None, None)) if point.kind != "base" else (None, None)
        rows.append({
            "c0": point.label, "c1": rounded(edge if point.is_free else point.cost), "c2": rounded(point.accuracy),
            "c3": rounded(low and max(0.0, low)), "c4": rounded(high and min(1.0, high)), "c5": f"{figure(point.cost)} {unit}",
            "c6": point.label if few or point.on_front or point.kind != "method" else "", "c7": "yes" if point.on_front else "no",
        })  # fmt: skip
    base = [row for point, row in zip(points, rows, strict=True) if point.kind == "base"]
    drawn = [row for point, row in zip(points, rows, strict=True) if point.kind != "base"]
    front = sorted((row["c1"], row["c2"]) for row in rows if row["c7"] == "yes")
    corners: list[Row] = [{"c1": x, "c2": y} for x, y in [*front, (end, front[-1][1])]]

    datasets = {
        **_names_by_side(rows, edge, end),
        "rows": drawn,
        "intervals": [row for row in drawn if row["c3"] is not None],
        "base": base,
        "front": corners,
    }

    axis = alt.Axis(format="~g" if cost == "time" else "~e", tickCount=6, grid=False)
    scale = alt.Scale(type="log", domain=[edge * 0.85, end], nice=False)
    x = alt.X("c1:Q", title=f"{what} of learning ({unit}, logarithmic)", axis=axis, scale=scale)
    y = alt.Y("c2:Q", title="test accuracy", axis=SHARE, scale=alt.Scale(zero=False))
    hue, shape = by_method(methods, [row["c0"] for row in drawn])
    told = tooltips(c0="method", c2=("accuracy", ".1%"), c5=what, c7="on the front")
    below, seen = alt.Chart(named("base")), alt.Chart(named("rows"))
    layers = [
        below.mark_rule(strokeDash=[1, 3]).encode(x=x),
        below.mark_rule(strokeDash=[6, 4], color=GREY).encode(y=y),
        alt.Chart(named("front")).mark_line(interpolate="step-after", color=GREY, strokeWidth=2).encode(x=x, y=y),
        alt.Chart(named("intervals")).mark_rule(strokeWidth=1.5).encode(x=x, y=alt.Y("c3:Q"), y2="c4:Q", color=hue),
        seen.mark_point(filled=True, size=130, opacity=1).encode(x=x, y=y, color=hue, shape=shape, tooltip=told),
        *(
            alt.Chart(named(side)).mark_text(align=align, dx=dx, dy=dy, limit=200).encode(x=x, y=y, text="c6:N")
            for side, (align, dx, dy) in SIDES.items()
        ),
        below.mark_point(filled=True, size=110, shape="diamond", color=GREY, opacity=1).encode(x=x, y=y, tooltip=told),
    ]
    missing = [one.label for one in group.ranking.methods if one.label not in {row["c0"] for row in drawn}]
    notes = [
        "Upper left is better. The grey steps are the Pareto front: no other method is both cheaper and at least as accurate. "
        "Vertical lines: 95 % intervals over seeds and test images. Training the base is not included; the dotted line at the left edge is cost 0.",
        "" if any(point.kind == "retrain" for point in points) else f"There is no complete run of {RETRAIN}, which would show the accuracy and cost of retraining on all data.",
        "" if base else "The accuracy of the base is not known.",
        f"Not shown, since their {what} is not known: {', '.join(missing)}." if missing else "",
    ]  # fmt: skip
    cheapest = sorted((row for row in rows if row["c7"] == "yes"), key=lambda row: (row["c1"], row["c2"]))
    best = ", ".join(f"{row['c0']} ({row['c5']}, {percent(row['c2'])})" for row in cheapest)
    return Chart(
        name=f"accuracy-{cost}",
        title=f"Accuracy against {what}",
        words=f"Test accuracy against the {what} of learning: {plural(len(drawn), 'method')} and the base. On the Pareto front: {best}.",
        spec=finish(layers, datasets, height=380),
        datasets=datasets,
        headings=("method", f"{what} of learning", "accuracy", "95 % interval", "on the front"),
        rows=[
            (
                row["c0"] if row not in base else f"{BASE}, before any increment",
                row["c5"],
                percent(row["c2"]),
                "not known" if row["c3"] is None else f"{percent(row['c3'])} to {percent(row['c4'])}",
                row["c7"],
            )
            for row in rows
        ],
        note=joined(*notes),
    )


def _names_by_side(rows: Sequence[Row], left: float, right: float) -> dict[str, list[Row]]:
    """The labelled points, by the side on which the label overlaps no other label and no point, if there is one.

    Args:
        rows: All points.
        left: Where the logarithmic axis begins.
        right: Where it ends.
    """
    heights = [row[key] for row in rows for key in ("c2", "c3", "c4") if row[key] is not None]
    low, span = min(heights), max(heights) - min(heights) or 1.0
    places = [
        (_WIDTH * log(row["c1"] / left) / log(right / left), _HEIGHT * (1 - (row["c2"] - low) / span)) for row in rows
    ]
    taken = [(x - 7, x + 7, y - 7, y + 7) for x, y in places]
    found: dict[str, list[Row]] = {side: [] for side in SIDES}
    for row, (x, y) in zip(rows, places, strict=True):
        if not row["c6"]:
            continue
        boxes = {}
        for side, (align, dx, dy) in SIDES.items():
            length = _LETTER * min(len(row["c6"]), 28)
            start = x + dx - (length if align == "right" else 0)
            boxes[side] = (start, start + length, y + dy - _LINE / 2, y + dy + _LINE / 2)
        free = [
            side
            for side, box in boxes.items()
            if box[0] >= 0 and box[1] <= _WIDTH and not any(_overlap(box, other) for other in taken)
        ]
        side = free[0] if free else "upper right"
        found[side].append(row)
        taken.append(boxes[side])
    return found


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether two boxes (left, right, top, bottom) overlap."""
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]
