"""Builds the report, with images where the data is there, and prints the ranking."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lightning_vision.comparison.run_images import ImagesOfRuns
from lightning_vision.report.gather import gather
from lightning_vision.report.page import VERDICTS, ReportFiles, write_report
from lightning_vision.report.runs import GatheredRuns, Group


def report(folders: Sequence[Path], output: Path, console: Console) -> tuple[GatheredRuns, ReportFiles]:
    """Write the report of all runs below some folders, and print its answer.

    Args:
        folders: Run directories, or folders of them.
        output: The folder that it is written into.
        console: Where the ranking is printed.

    Raises:
        ConfigError: There is no run.
    """
    comparison, files = build_report(folders, output)
    for group in comparison.groups:
        print_ranking(group, console)
    for left in comparison.left_out:
        console.print(escape(f"Left out: {left.path}: {left.reason}"))
    console.print(f"Report: {files.page}")
    return comparison, files


def build_report(folders: Sequence[Path], output: Path) -> tuple[Comparison, ReportFiles]:
    """Write the report of all runs below some folders; see ``report``."""
    comparison = gather(folders)
    return comparison, write_report(comparison, output, ImagesOfRuns())


def print_ranking(group: Group, console: Console) -> None:
    """Print the answer and its table."""
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
            escape(row.label),
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
