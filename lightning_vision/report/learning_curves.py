"""The learning curves of all runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from lightning_vision.report.chart import (
    GREY,
    SHARE,
    Chart,
    Row,
    by_method,
    finish,
    joined,
    named,
    picked_in_legend,
    rounded,
    tooltips,
)
from lightning_vision.report.runs import Group, ReportRun
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.terminal.wording import few, figure, plural

CURVES = {
    "online/accuracy": "Anytime accuracy on the classes seen so far",
    "val/accuracy": "Validation accuracy during training",
    "train/loss": "Training loss during training",
}
MOST_POINTS, MOST_POINTS_IN_ALL = 200, 24_000
"""Of one curve, and of all in a chart."""


def curve_charts(group: Group, methods: Sequence[str], columns: Mapping[str, str] = CURVES) -> list[Chart]:
    """Logged metrics of every run over the steps of the stream; no chart for a metric that no run has logged.

    Args:
        group: The runs; those of the base alone are drawn grey.
        methods: All methods of the page, for their colours.
        columns: What each figure is, by its name in metrics.csv.
    """
    metrics: dict[ReportRun, pd.DataFrame | str] = {}
    for run in [*group.bases, *group.runs]:
        try:
            metrics[run] = read_metrics(run, list(columns))
        except ValueError as error:
            metrics[run] = str(error)
    charts = [_chart(metrics, methods, column, title) for column, title in columns.items()]
    return [chart for chart in charts if chart is not None]


def read_metrics(run: ReportRun, columns: Sequence[str]) -> pd.DataFrame:
    """Figures of a run's metrics.csv.

    Returns:
        The columns, NaN where nothing was logged, with "step" and "experience", in the stream's order.

    Raises:
        ValueError: The file is missing or damaged.
    """
    names = {"stream/step": "step", "stream/experience": "experience", **{column: column for column in columns}}
    try:
        table = pd.read_csv(RunDirectory(run.path).metrics, usecols=lambda name: name in names, low_memory=False)
    except OSError as error:
        raise ValueError(error.strerror or "it cannot be opened") from error
    table = table.rename(columns=names).reindex(columns=list(names.values()))
    table = table.apply(pd.to_numeric, errors="coerce").replace([np.inf, -np.inf], np.nan)
    table["experience"] = table["experience"].ffill().fillna(0)
    ordered: pd.DataFrame = table.dropna(subset="step").sort_values("step", kind="stable")
    return ordered


def _chart(
    metrics: Mapping[ReportRun, pd.DataFrame | str], methods: Sequence[str], column: str, title: str
) -> Chart | None:
    """One figure.

    Args:
        metrics: Of each run what ``read_metrics`` returned, or why it did not.
        methods: All methods of the page.
        column: Its name in metrics.csv.
        title: What it is.
    """
    most = max(20, min(MOST_POINTS, MOST_POINTS_IN_ALL // max(1, len(metrics))))
    datasets: dict[str, list[Row]] = {"rows": [], "bases": [], "ends": []}
    listed, without, broken = [], [], []
    for run, table in metrics.items():
        name = f"{run.method}, seed {run.seed}"
        if isinstance(table, str):
            broken.append(f"{name} ({table})")
            continue
        curve = table[["step", column, "experience"]].dropna().set_axis(["step", "value", "experience"], axis=1)
        if curve.empty:
            without.append(name)
            continue
        listed.append((run.method, str(run.seed), str(len(curve)), figure(curve["value"].iloc[0]), figure(curve["value"].iloc[-1]), figure(curve["value"].min()), figure(curve["value"].max())))  # fmt: skip
        thinned = curve.groupby(np.arange(len(curve)) * most // len(curve)).mean() if len(curve) > most else curve
        for part, target in (
            (thinned, "bases" if run.is_base else "rows"),
            (curve.groupby("experience").last().reset_index(), "ends"),
        ):
            if target != "ends" or not run.is_base:
                datasets[target] += [
                    {"c0": run.method, "c1": rounded(step), "c2": rounded(value), "c3": name, "c4": int(experience) + 1}
                    for step, value, experience in part[["step", "value", "experience"]].itertuples(index=False)
                ]
    if not listed:
        return None
    is_share = column.endswith("accuracy")
    hue, shape = by_method(methods, list(dict.fromkeys(row["c0"] for row in datasets["rows"])))
    pick, strength = picked_in_legend()
    x = alt.X("c1:Q", title="step of the stream", axis=alt.Axis(tickMinStep=1, format="~s"))
    y = alt.Y(
        "c2:Q",
        title=title.removesuffix(" during training").lower(),
        axis=SHARE if is_share else alt.Axis(),
        scale=alt.Scale(zero=False),
    )
    told = tooltips(c3="run", c4="experience", c1="step", c2=(title.lower(), ".3g"))
    layers = [
        alt.Chart(named("bases")).mark_line(color=GREY, strokeDash=[5, 3], strokeWidth=1.5).encode(x=x, y=y, detail="c3:N"),
        alt.Chart(named("rows")).mark_line(strokeWidth=1.6, opacity=1).encode(x=x, y=y, color=hue, detail="c3:N", strokeOpacity=strength).add_params(pick),
        alt.Chart(named("ends")).mark_point(filled=True, size=55, opacity=1).encode(x=x, y=y, color=hue, shape=shape, fillOpacity=strength, tooltip=told),
    ]  # fmt: skip
    notes = [
        f"One line for each of {plural(len(listed), 'run')}; a mark at the end of each experience. Click a method in the legend to highlight its runs.",
        "Grey and dashed: the base." if datasets["bases"] else "",
        "Accuracy is measured on the validation images of the current experience." if column.startswith("val/") else "",
        "Measured between the batches of the online stream, on test images of the classes seen until then."
        if column.startswith("online/")
        else "",
        f"Without logged values (closed forms have no epochs): {few(without)}." if without else "",
        f"metrics.csv could not be read: {few(broken)}." if broken else "",
    ]
    return Chart(
        name=f"curves-{column.replace('/', '-')}",
        title=title,
        words=f"{title} of {plural(len(listed), 'run')} over the steps of the stream. The table gives first and last values.",
        spec=finish(layers, datasets, height=340),
        datasets=datasets,
        headings=("method", "seed", "values", "first", "last", "lowest", "highest"),
        rows=listed,
        note=joined(*notes),
    )
