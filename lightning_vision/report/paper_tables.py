"""The ranking as a table for a paper: LaTeX with booktabs, and Markdown, with intervals and marks of significance."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from lightning_vision.report.markdown import escaped
from lightning_vision.report.proportion import Interval
from lightning_vision.report.runs import GatheredRuns, Group, RankedMethod
from lightning_vision.report.tuning import tuning_cost
from lightning_vision.terminal.wording import few, figure, printable

Format = Literal["latex", "markdown"]
LEVELS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
"""p-values after Holm's correction, and the marks of a difference to the best that is below."""
SIGNS = {
    "***": "p < 0.001",
    "**": "p < 0.01",
    "*": "p < 0.05",
    "n.s.": "not significant",
    "n.t.": "not tested",
}
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}", '"': r"{\ttfamily\char34}", "-": "-{}",
    "[": "{[}", "]": "{]}", "*": "{*}",
}  # fmt: skip
"""What TeX does not print as it is. A hyphen is kept from its neighbours, with which it would be a dash."""


@dataclass(frozen=True)
class Cell:
    """A value with its interval and mark."""

    value: str
    interval: str = ""
    mark: str = ""
    bold: bool = False


@dataclass(frozen=True)
class Column:
    """A column of the table."""

    heading: str
    unit: str
    cell: Callable[[RankedMethod], Cell]
    optional: bool = True
    """Left out if no method has a value."""


COLUMNS = (
    Column("accuracy", "%", lambda row: _share(row.accuracy, bold=row.verdict == "best"), optional=False),
    Column("difference", "points", lambda row: _share(row.difference, sign=True, mark=mark_of(row))),
    Column("learning accuracy", "%", lambda row: _share(row.learning_accuracy)),
    Column("forgetting", "points", lambda row: _share(row.forgetting, sign=True)),
    Column("gap closed", "%", lambda row: Cell(f"{row.gap.bound} bound") if row.gap.bound else _share(row.gap.share)),
    Column("task accuracy", "%", lambda row: _share(row.task_accuracy)),
    Column("anytime accuracy", "%", lambda row: _share(row.average_anytime)),
    Column("probe", "%", lambda row: _share(row.probe_accuracy)),
    Column("steps", "", lambda row: _number(row.steps)),
    Column("time", "s", lambda row: _number(row.fit_seconds)),
    Column("energy", "kWh", lambda row: _number(row.energy_kwh)),
    Column("memory", "bytes", lambda row: _number(row.memory_bytes)),
)


def mark_of(row: RankedMethod) -> str:
    """The mark of a method's difference to the best; empty for the best."""
    if row.verdict == "best":
        return ""
    if row.p_holm is None:
        return "n.t."
    return next((mark for level, mark in LEVELS if row.p_holm < level), "n.s.")


def paper_tables(comparison: GatheredRuns, how: Format) -> str:
    """The tables of all groups that have a ranking.

    Args:
        comparison: The runs.
        how: ``latex`` needs the package booktabs; ``markdown`` is that of GitHub.
    """
    groups = [group for group in comparison.groups if group.ranking.methods]
    tuned = _words_on_tuning(comparison)
    if how == "markdown":
        return "\n".join(_markdown(group, tuned) for group in groups)
    head = r"% \usepackage{booktabs} in the preamble. Names that are not Latin need XeLaTeX or LuaLaTeX."
    return "\n".join([head, *(_latex(group, number, tuned) for number, group in enumerate(groups, start=1))])


def _columns(rows: Sequence[RankedMethod]) -> list[Column]:
    return [column for column in COLUMNS if not column.optional or any(column.cell(row).value for row in rows)]


def _words_on_tuning(comparison: GatheredRuns) -> str:
    """What was tuned and what that cost, as a sentence of the caption; empty if nothing was."""
    if not comparison.tunings:
        return ""
    options = few(dict.fromkeys(option for file in comparison.tunings for option in file.options))
    first = few(dict.fromkeys(str(file.tune_on) for file in comparison.tunings))
    return f" Tuned on the first {first} experiences: {options}; cost, not in the table: {tuning_cost(comparison.tunings).words}."


def _markdown(group: Group, tuned: str) -> str:
    rows = group.ranking.methods
    columns = _columns(rows)
    heads = ["method", "seeds", *(f"{c.heading} ({c.unit})" if c.unit else c.heading for c in columns)]
    lines = [f"**{escaped(group.name)}**", "", f"| {' | '.join(heads)} |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for row in rows:
        cells = [escaped(row.label), str(len(row.seeds)), *(_markdown_cell(column.cell(row)) for column in columns)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", escaped(_caption(group) + tuned), ""])


def _markdown_cell(cell: Cell) -> str:
    value = f"**{cell.value}**" if cell.bold else cell.value
    interval = f" ({cell.interval})" if cell.interval else ""
    return f"{value}{interval}{f' {escaped(cell.mark)}' if cell.mark and cell.value else ''}"


def _latex(group: Group, number: int, tuned: str) -> str:
    rows = group.ranking.methods
    columns = _columns(rows)
    heads = ["method", "seeds", *(latex_escaped(f"{c.heading} ({c.unit})" if c.unit else c.heading) for c in columns)]
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{latex_escaped(f'{group.name}. {_caption(group)}{tuned}')}}}",
        rf"  \label{{tab:ranking-{number}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
        r"    \toprule",
        f"    {' & '.join(heads)} \\\\",
        r"    \midrule",
    ]
    for row in rows:
        cells = [latex_escaped(row.label), str(len(row.seeds)), *(_latex_cell(column.cell(row)) for column in columns)]
        lines.append(f"    {' & '.join(cells)} \\\\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}", ""])


def _latex_cell(cell: Cell) -> str:
    value = _minus(cell.value)
    value = rf"\textbf{{{value}}}" if cell.bold else value
    interval = rf" {{\scriptsize ({_minus(cell.interval)})}}" if cell.interval else ""
    mark = rf"\textsuperscript{{{latex_escaped(cell.mark)}}}" if cell.mark and cell.value else ""
    return f"{value}{interval}{mark}"


def _minus(text: str) -> str:
    """Signs of numbers as signs, not as hyphens."""
    return re.sub(r"(?<![\de])([+-])(?=\d)", r"$\1$", text)


def latex_escaped(text: str) -> str:
    """A text that LaTeX prints unchanged, on one line."""
    return "".join(_LATEX.get(character, character) for character in printable(" ".join(text.split())))


def _caption(group: Group) -> str:
    """What the figures and the marks are; the marks that occur."""
    ranking = group.ranking
    text = "Test accuracy after the last experience, mean over seeds (95 % interval)."
    if len(ranking.methods) > 1:
        marks = {mark_of(row) for row in ranking.methods}
        told = ", ".join(f"{mark} {meaning}" for mark, meaning in SIGNS.items() if mark in marks)
        text += f" Difference to the best{f': {told}, p after Holm' if told else ''}."
    if any(row.gap.share is not None for row in ranking.methods):
        text += f" Gap closed: (accuracy - lower bound) / (upper bound - lower bound). {' '.join(ranking.bounds)}"
    return text


def _share(interval: Interval | None, sign: bool = False, mark: str = "", bold: bool = False) -> Cell:
    if interval is None:
        return Cell("", mark=mark)
    plus = "+" if sign else ""
    ends = ""
    if interval.low is not None and interval.high is not None:
        ends = f"{100 * interval.low:{plus}.1f} to {100 * interval.high:{plus}.1f}"
    return Cell(f"{100 * interval.mean:{plus}.1f}", ends, mark, bold)


def _number(value: float | None) -> Cell:
    return Cell("" if value is None else figure(value))
