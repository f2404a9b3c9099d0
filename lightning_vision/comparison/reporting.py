"""Builds the report, with images if the data is available, and prints the ranking."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lightning_vision.comparison.run_images import ImagesOfRuns
from lightning_vision.errors import ConfigError
from lightning_vision.learning.hub_run import is_from_hub, output_folder, with_local_run
from lightning_vision.report.gather import gather
from lightning_vision.report.page import VERDICTS, ReportFiles, write_report
from lightning_vision.report.paper_tables import paper_tables
from lightning_vision.report.runs import GatheredRuns, Group
from lightning_vision.report.tuning import tuning_cost
from lightning_vision.storage.links_out import refuse_links_out
from lightning_vision.terminal.wording import printable


def report(paths: Sequence[str | PathLike[str]] | str | PathLike[str], output: str | Path | None = None) -> ReportFiles:
    """Write a self-contained page (report.html), its charts as PNG and its tables as CSV and Markdown.

    Args:
        paths: Run directories or ``Run`` objects, or folders that contain some at any depth; runs may be unfinished. Addresses of runs on the Hub too.
        output: The output folder. Default: ``report`` in the first of ``paths``, and in the working directory if this is on the Hub.

    Returns:
        The files that were written.

    Raises:
        ConfigError: A folder does not exist, or there is no run in them.
        DataError: None of the runs can be used.
        TrainingError: A file cannot be written.
    """
    return build_report(paths, output)[1]


def build_report(
    paths: Sequence[str | PathLike[str]] | str | PathLike[str], output: str | Path | None = None
) -> tuple[GatheredRuns, ReportFiles]:
    """The same, with the comparison that the report shows."""
    given = [paths] if isinstance(paths, str | PathLike) else list(paths)
    if not given:
        raise ConfigError("report: expected at least one run directory, found an empty list.")
    folders = [with_local_run(path if isinstance(path, str) else Path(path)) for path in given]
    target = output_folder(folders[0]) / "report" if output is None else Path(output)
    if output is None and not is_from_hub(folders[0]):
        refuse_links_out(target, folders[0])
    comparison = gather(folders)
    return comparison, write_report(comparison, target, ImagesOfRuns())


def print_report(
    comparison: GatheredRuns,
    files: ReportFiles | None,
    console: Console,
    table: Literal["terminal", "latex", "markdown"] = "terminal",
) -> None:
    """Print the results: the ranking of each group, what was left out, and the path of the report.

    Args:
        comparison: The comparison.
        files: The files that were written; None if there are none.
        console: The console to which it is printed.
        table: ``latex`` or ``markdown``: print tables for a paper and nothing else, so that they can be sent to a file.
    """
    if table != "terminal":
        console.print(paper_tables(comparison, table), markup=False, end="", soft_wrap=True)
        return
    for group in comparison.groups:
        print_ranking(group, console)
    if comparison.tunings:
        cost = tuning_cost(comparison.tunings).words
        console.print(escape(f"Tuning, which is not part of the cost of the methods: {cost}."), soft_wrap=True)
    for left in comparison.left_out:
        console.print(escape(printable(f"Left out: {left.path}: {left.reason}")), soft_wrap=True)
    if files is not None:
        console.print(f"Report: {files.page}")


def print_ranking(group: Group, console: Console) -> None:
    """Print the result and its table."""
    table = Table(title=escape(group.name), box=box.SIMPLE_HEAD)
    for heading in (
        "learning strategy",
        "accuracy (95 % interval)",
        "difference to the best",
        "significant?",
        "learning s",
        "kWh",
    ):
        table.add_column(
            heading, justify="right" if heading in ("difference to the best", "learning s", "kWh") else "left"
        )
    for row in group.ranking.methods:
        low, high = row.accuracy.low, row.accuracy.high
        interval = "" if low is None or high is None else f" ({100 * low:.1f} to {100 * high:.1f})"
        table.add_row(
            escape(printable(row.label)),
            f"{100 * row.accuracy.mean:.1f} %{interval}",
            "" if row.difference is None else f"{100 * row.difference.mean:+.1f}",
            VERDICTS[row.verdict],
            f"{row.fit_seconds:.1f}",
            "-" if row.energy_kwh is None else f"{row.energy_kwh:.2g}",
        )
    console.print(table)
    console.print(escape(group.ranking.words))
    if group.ranking.how_many:
        console.print(escape(group.ranking.how_many))
    for remark in group.remarks:
        console.print(escape(f"Note: {remark}"))
