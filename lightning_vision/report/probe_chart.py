"""The chart of the linear probe: its accuracy after each experience, and that of the method's own head."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np

from lightning_vision.report.chart import (  # fmt: skip
    SHARE,
    Chart,
    Row,
    finish_panels,
    joined,
    percent,
    rounded,
    short_names,
    tooltips,
)
from lightning_vision.report.means import by_key
from lightning_vision.report.runs import Group, Method, ReportRun
from lightning_vision.terminal.wording import plural

HEAD, PROBE = "the method's head", "linear probe"
MOST_PANELS = 24
SIDE = 220
"""Pixels of a panel."""
MOST_TICKS = 6


def probe_chart(group: Group) -> Chart | None:
    """Accuracy on the classes seen after each experience, of the head and of the probe: a panel for each method.

    Returns:
        The chart; None if no method has a probe.
    """
    probed = [method for method in group.methods if any(run.results.probe is not None for run in method.runs)]
    shown = short_names([method.label for method in probed[:MOST_PANELS]])
    rows = [row for method in probed[:MOST_PANELS] for row in _rows(method, shown[method.label])]
    if not any(row["c5"] == PROBE for row in rows):
        return None
    steps = sorted({row["c1"] for row in rows})
    x = alt.X(
        "c1:Q",
        title="experiences learned",
        axis=alt.Axis(values=steps[:: -(-len(steps) // MOST_TICKS)], format="d", grid=False),
        scale=alt.Scale(nice=False),
    )
    y = alt.Y("c2:Q", title="accuracy on classes seen", axis=SHARE, scale=alt.Scale(zero=False))
    scale, legend = alt.Scale(domain=[HEAD, PROBE]), alt.Legend(title=None)
    hue, shape = alt.Color("c5:N", scale=scale, legend=legend), alt.Shape("c5:N", scale=scale, legend=legend)
    told = tooltips(c6="method", c5="of", c1="experiences", c2=("mean", ".1%"), c3=("lowest", ".1%"), c4=("highest", ".1%"), c7="over")  # fmt: skip
    panel = alt.layer(
        alt.Chart().mark_area(opacity=0.18).encode(x=x, y=alt.Y("c3:Q"), y2="c4:Q", color=hue),
        alt.Chart().mark_line(strokeWidth=2).encode(x=x, y=y, color=hue),
        alt.Chart().mark_point(filled=True, size=55, opacity=1).encode(x=x, y=y, color=hue, shape=shape, tooltip=told),
    )
    left = len(probed) - len(shown)
    without = len(group.methods) - len(probed)
    notes = [
        "Above the head: what a new head on the same features would gain. Lines: means over seeds. Bands: from the lowest to the highest "
        "seed; they are not confidence intervals, which the ranking has for the last experience.",
        f"{plural(left, 'method')} with lower accuracy are not shown." if left else "",
        f"{plural(without, 'method')} without a probe are not shown." if without else "",
    ]
    return Chart(
        name="probe",
        title="Accuracy of the head and of a linear probe",
        words=f"Accuracy on the classes seen after each experience, of the method's head and of the probe. At the end: {_ends(rows)}.",
        spec=finish_panels(panel, "rows", list(shown.values()), width=SIDE, height=SIDE),
        datasets={"rows": rows},
        headings=("method", "experiences", "of", "mean", "lowest seed", "highest seed", "over"),
        rows=[(row["c6"], str(row["c1"]), row["c5"], percent(row["c2"]), percent(row["c3"]), percent(row["c4"]), row["c7"]) for row in rows],
        note=joined(*notes),
    )  # fmt: skip


def _rows(method: Method, name: str) -> list[Row]:
    """The points of one method: those of the head after each experience at which a seed has a probe, and those of the probe."""
    pairs = [pair for run in method.runs for pair in _pairs(run)]
    return [
        {
            "c0": name, "c1": t, "c2": rounded(float(np.mean(values))), "c3": rounded(min(values)), "c4": rounded(max(values)),
            "c5": whose, "c6": method.label, "c7": plural(len(values), "seed"),
        }
        for whose, column in ((HEAD, 1), (PROBE, 2))
        for t, values in sorted(by_key((pair[0], pair[column]) for pair in pairs).items())
    ]  # fmt: skip


def _pairs(run: ReportRun) -> list[tuple[int, float, float]]:
    """After each experience with a probe the number of experiences, the accuracy of the head and that of the probe."""
    if run.results.probe is None:
        return []
    both = zip(run.results.seen_accuracy, run.results.probe.accuracy, strict=False)
    return [(t, head, probe) for t, (head, probe) in enumerate(both, start=1) if head is not None and probe is not None]


def _ends(rows: Sequence[Row]) -> str:
    last = {(row["c6"], row["c5"]): row["c2"] for row in rows}
    return ", ".join(
        f"{method} {percent(head)} and {percent(last.get((method, PROBE)))}"
        for (method, whose), head in last.items()
        if whose == HEAD
    )
