"""One chart: a Vega-Lite specification, what it shows in words, its figures as a table, and its drawing as a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert

from lightning_vision.report.labels import cut_middle, unique
from lightning_vision.terminal.wording import printable_values

PNG_WIDTH = 900
"""Pixels of the drawing in a PNG, before the scale of 2."""
VEGA_LITE = ".".join(alt.SCHEMA_VERSION.split(".")[:2])
"""The version that altair writes for."""
# The hues of Okabe and Ito, told apart by all eyes; some are darker here, for a contrast of 3 to 1 on white.
LIGHT_HUES = ("#0072B2", "#D55E00", "#009E73", "#B8578F", "#D99000", "#2E9BD6", "#555B63")
DARK_HUES = ("#4DA3E0", "#F07B2B", "#2FB58C", "#DD8FBB", "#E6B33C", "#8CCBF2", "#C3C8CF")
# One less than the hues: hue and shape together are the same again only after 42 methods.
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
LONGEST_NAME = 22
"""Characters over a panel."""
GREY = "#808790"
"""Readable on white and on black: the base, and lines that are no method's."""

SHARE = alt.Axis(format="%", tickCount=6)
"""The axis of an accuracy."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """What is drawn, said and listed.

    Every value comes from ``datasets``, under the field names c0, c1 and so on. Some texts of a specification are formulas
    and names of fields: names from disk are never among those, only in lists of values (domains, orders).
    """

    name: str
    """Of its PNG, and of its place in the page."""
    title: str
    words: str
    """The text alternative, with the figures that matter."""
    spec: dict[str, Any]
    """Without its data and without a look: the page and ``png`` add the light or the dark one."""
    datasets: dict[str, list[Row]]
    headings: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()
    """The same as a table."""
    note: str = ""
    """How to read it, and what is not in it."""

    @property
    def whole(self) -> dict[str, Any]:
        """The specification with its data."""
        return {**self.spec, "datasets": self.datasets}

    def png(self) -> bytes:
        """The chart on white, with its title, at twice the usual resolution."""
        # A text that is no character of XML ends the process of the drawing library.
        spec = printable_values(
            {**self.whole, "title": {"text": self.title, "anchor": "start", "offset": 12}, "padding": 16}
        )
        if "facet" in spec:
            spec["columns"] = max(1, PNG_WIDTH // (spec["usermeta"]["panel"] + 40))
        else:
            spec["width"] = PNG_WIDTH
        config = look(dark=False)
        config["legend"]["columns"] = 4
        config |= {"background": "#ffffff", "font": "sans-serif"}
        png: bytes = vl_convert.vegalite_to_png(spec, vl_version=VEGA_LITE, scale=2, config=config)
        return png


def look(*, dark: bool) -> dict[str, Any]:
    """The configuration of Vega-Lite for light or dark paper; the hues of methods are part of it."""
    ink, faint, line = ("#e6e9ed", "#a3acb8", "#373e48") if dark else ("#1c2128", "#57606a", "#d9dde3")
    writing = {"labelColor": faint, "titleColor": ink, "labelFontSize": 12, "titleFontSize": 12}
    return {
        "background": "transparent",
        "aria": False,  # the figure around it has the text alternative
        "font": 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif',
        "view": {"stroke": None},
        "axis": {**writing, "titleFontWeight": "normal", "gridColor": line, "domainColor": faint, "tickColor": faint, "labelLimit": 260, "labelOverlap": "greedy"},
        "legend": {**writing, "orient": "bottom", "labelColor": ink, "labelLimit": 230, "symbolSize": 90, "symbolOpacity": 1, "symbolLimit": 120, "titleFontWeight": "normal"},
        "title": {"color": ink, "fontSize": 15},
        "header": {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "labelLimit": 220},
        "text": {"color": ink, "fontSize": 12},
        "rule": {"color": faint},
        "range": {"category": list(DARK_HUES if dark else LIGHT_HUES), "symbol": list(SHAPES)},
    }  # fmt: skip


def named(dataset: str) -> Any:
    """The data of a layer, by the name under which ``Chart.datasets`` has it."""
    return alt.NamedData(name=dataset)


def finish(layers: Sequence[Any], datasets: dict[str, list[Row]], height: int) -> dict[str, Any]:
    """A specification as wide as its place in the page.

    Args:
        layers: Charts of altair, the lowest first; those whose data is empty are left out.
        datasets: The data by name.
        height: Pixels.
    """
    filled = [layer for layer in layers if datasets[layer.data.name]]
    spec: dict[str, Any] = alt.layer(*filled).properties(width="container", height=height).to_dict()
    del spec["config"]
    # Axes and legends are to fit into the width as well.
    return {**spec, "autosize": {"type": "fit-x", "contains": "padding"}}


def finish_panels(panel: Any, dataset: str, names: Sequence[str], *, width: int, height: int) -> dict[str, Any]:
    """A specification with a panel for each value of c0, as many in a row as have room.

    Args:
        panel: What each shows, without data.
        dataset: Name of its data.
        names: The panels, in order: see ``short_names``.
        width: Pixels of a panel.
        height: Pixels of a panel.
    """
    header = alt.Header(labelAnchor="start", labelFontWeight="bold", labelLimit=width + 60)
    facet = alt.Facet("c0:N", title=None, sort=list(names), header=header)
    panels = (
        panel.properties(width=width, height=height)
        .facet(data=named(dataset), facet=facet, columns=1)
        .resolve_axis(x="independent")
    )
    spec: dict[str, Any] = panels.to_dict()
    del spec["config"]
    return {**spec, "usermeta": {"panel": width}}


def short_names(names: Sequence[str]) -> dict[str, str]:
    """By name, one that fits over a panel: cut in the middle, since names often differ at both ends; no two are alike."""
    return dict(zip(names, unique([cut_middle(name, LONGEST_NAME) for name in names]), strict=True))


def by_method(methods: Sequence[str], shown: Sequence[str]) -> tuple[alt.Color, alt.Shape]:
    """Hue and shape of the field c0, a method's name: the same in all charts of a page.

    Args:
        methods: All of the page, in one order.
        shown: Those that the legend names.
    """
    scale, legend = alt.Scale(domain=list(methods)), alt.Legend(title=None, values=list(shown))
    return alt.Color("c0:N", scale=scale, legend=legend), alt.Shape("c0:N", scale=scale, legend=legend)


def tooltips(**titles: str | tuple[str, str]) -> list[alt.Tooltip]:
    """What a mark says of itself: the title of each field, and for a number its format."""
    return [
        alt.Tooltip(f"{field}:N", title=title) if isinstance(title, str)
        else alt.Tooltip(f"{field}:Q", title=title[0], format=title[1])
        for field, title in titles.items()
    ]  # fmt: skip


def picked_in_legend(strong: float = 0.9, weak: float = 0.08) -> tuple[alt.Parameter, Any]:
    """A selection of methods by a click in the legend, and the opacity of what is selected and of the rest."""
    pick = alt.selection_point(name="pick", fields=["c0"], bind="legend")
    return pick, alt.when(pick).then(alt.value(strong)).otherwise(alt.value(weak))


def joined(*sentences: str) -> str:
    """The sentences that are not empty, as one text."""
    return " ".join(sentence for sentence in sentences if sentence)


def rounded(value: float | None, digits: int = 5) -> float | None:
    """The value at a few significant digits: more only take room."""
    return None if value is None else float(f"{value:.{digits}g}")


def percent(value: float | None) -> str:
    """A share in percent, as text."""
    return "not known" if value is None else f"{100 * value:.1f} %"


def points(value: float | None) -> str:
    """A difference of shares in percentage points, as text."""
    return "not known" if value is None else f"{100 * value:+.1f}"
