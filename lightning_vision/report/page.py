"""A report as one HTML page without network requests, with its charts as PNG and its tables as CSV and Markdown."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import PackageLoader
from markupsafe import Markup

from lightning_vision.drawing.page_template import page_environment
from lightning_vision.report.chart import VEGA_LITE, look, percent, points
from lightning_vision.report.runs import GatheredRuns, ReportRun
from lightning_vision.report.sections import Section, group_section
from lightning_vision.report.sharing import Savings, savings
from lightning_vision.report.statistics import FEWEST_SEEDS
from lightning_vision.report.tables import write_tables
from lightning_vision.report.tuning import tuned_methods, words_on_tuning
from lightning_vision.storage.atomic_write import write_atomically, write_text_atomically
from lightning_vision.terminal.wording import figure, plural, printable_values

Images = Callable[[ReportRun, int], bytes | None]
"""A test image of a run by its row in the sample table, as a JPEG; None if it is not available."""

PAGE = "report.html"
VERDICTS = {
    "best": "highest mean",
    "significant": "yes",
    "not significant": "no",
    "not tested": "not tested",
}
_SCRIPTS = ("charts.js", "matrix.js", "confusion.js")


@dataclass(frozen=True)
class ReportFiles:
    """What was written."""

    page: Path
    charts: list[Path]
    tables: list[Path]


@dataclass(frozen=True)
class _Script:
    """A script of the page, and its hash for the content security policy."""

    text: Markup

    @property
    def source(self) -> Markup:
        """The hash that allows exactly this text to run."""
        digest = base64.b64encode(hashlib.sha256(self.text.encode()).digest()).decode()
        return Markup(f"'sha256-{digest}'")


def write_report(comparison: GatheredRuns, output: Path, images: Images | None = None) -> ReportFiles:
    """Write report.html, a PNG of each chart, and the tables.

    Args:
        comparison: What was gathered.
        output: The folder; made if need be.
        images: Returns test images whose prediction an update changed; None: they are only counted.

    Raises:
        TrainingError: A file cannot be written.
    """
    tables = write_tables(comparison, output)
    methods = list(dict.fromkeys(method.label for group in comparison.groups for method in group.methods))
    sections = [
        group_section(group, f"group-{number}", methods, images)
        for number, group in enumerate(comparison.groups, start=1)
    ]
    charts = []
    for section in sections:
        for chart in section.charts:
            path = output / (f"{chart.name}.png" if len(sections) == 1 else f"{section.id}-{chart.name}.png")
            png = chart.png()
            write_atomically(path, lambda temporary, png=png: temporary.write_bytes(png))  # type: ignore[misc]
            charts.append(path)
    page = output / PAGE
    write_text_atomically(page, _page(comparison, sections))
    return ReportFiles(page, charts, tables)


@cache
def vega() -> str:
    """The drawing libraries as one script; bundling them takes two seconds."""
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", VEGA_LITE)
    return bundle


def _page(comparison: GatheredRuns, sections: list[Section]) -> str:
    environment = page_environment()
    environment.filters |= {
        "json": json_block,
        "known": lambda value: "not known" if value is None else figure(value),
        "share": percent,
        "points": lambda value: "-" if value is None else points(value),
        "chance": lambda p: "p < 0.001" if p < 0.001 else f"p = {p:.2g}",
        "large": _large,
        "time": _time,
        "unbroken": lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%"),
    }

    def part(name: str) -> str:
        source, _, _ = PackageLoader("lightning_vision.drawing").get_source(environment, f"report/{name}")
        return source

    saved = savings(comparison)
    return environment.get_template("report.html.j2").render(
        comparison=comparison,
        sections=sections,
        savings=saved,
        shared=_shared(saved),
        notices=_notices(comparison, sections),
        tunings=[(words_on_tuning(file), tuned_methods(file)) for file in comparison.tunings],
        verdicts=VERDICTS,
        looks={name: look(dark=name == "dark") for name in ("light", "dark")},
        style=Markup(part("report.css")),
        scripts=[script(text) for text in (vega(), *map(part, _SCRIPTS))],
    )


def json_block(value: Any) -> Markup:
    """JSON for a script element: nothing in it closes the element or opens another."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    if "\\" in text:  # a text in it has more than plain characters
        text = json.dumps(printable_values(value), allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e"))


def script(text: str) -> _Script:
    """A script for the page; text that would close its element is escaped."""
    return _Script(Markup(text.replace("</script", "<\\/script").replace("<!--", "<\\!--")))


def _large(value: float | None) -> str:
    """A count with its thousands, millions or milliards."""
    if value is None:
        return "not known"
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= size:
            return f"{value / (1e3 if letter == ' k' else size):.3g}{letter}"
    return figure(value)


def _time(seconds: float) -> str:
    """A time in the unit that suits it."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{figure(round(seconds / size, 1))} {unit}"
    return f"{figure(seconds)} s"


def _notices(comparison: GatheredRuns, sections: list[Section]) -> list[str]:
    """What a reader must know before the figures."""
    several = len(sections) > 1
    found = []
    for section in sections:
        ranking = section.group.ranking
        told = list(section.group.remarks)
        if len(ranking.methods) > 1 and not ranking.tested:
            told.insert(0, f"Differences could not be tested: a test needs at least {FEWEST_SEEDS} common seeds, and predictions for the same test images.")  # fmt: skip
        found += [f"{section.group.name}: {remark}" if several else remark for remark in told]
    return found


def _shared(saved: Savings) -> list[str]:
    """What sharing bases and features saved, in sentences."""
    words = []
    if saved.base_users:
        words.append(f"{plural(saved.base_users, 'run')} started from {plural(saved.bases, 'shared base')}, which saved training a base {plural(saved.bases_not_trained, 'time')}.")  # fmt: skip
    if saved.bases_elsewhere:
        words.append(f"{plural(saved.bases_elsewhere, 'run')} started from a base that is not among these runs; what that saved is not known.")  # fmt: skip
    if saved.passes_saved:
        words.append(f"The feature cache saved {saved.passes_saved:,} passes through the backbone.")
    return [*words, saved.words_on_energy] if saved.words_on_energy else words
