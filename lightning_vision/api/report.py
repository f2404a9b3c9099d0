"""A report of any run directories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning_vision.comparison.reporting import build_report
from lightning_vision.errors import ConfigError
from lightning_vision.report.page import ReportFiles
from lightning_vision.storage.links_out import refuse_links_out


def report(paths: Sequence[str | Path] | str | Path, output: str | Path | None = None) -> ReportFiles:
    """Write a self-contained page (report.html), its charts as PNG and its tables as CSV and Markdown.

    Args:
        paths: Run directories, or folders with several at any depth; unfinished runs too.
        output: The folder that is written. Default: ``report`` in the first of ``paths``.

    Returns:
        The files that were written.

    Raises:
        ConfigError: A folder does not exist, or there is no run in them.
        DataError: None of the runs can be used.
        TrainingError: A file cannot be written.
    """
    folders = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if not folders:
        raise ConfigError("report: expected at least one run directory, found an empty list.")
    if output is None:
        refuse_links_out(folders[0] / "report", folders[0])
    _, files = build_report(folders, folders[0] / "report" if output is None else Path(output))
    return files
