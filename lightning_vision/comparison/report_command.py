"""The subcommand ``report``: a page, tables and figures of run directories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lightning_vision.comparison.reporting import build_report, print_report
from lightning_vision.terminal.option_parser import WordsParser, add_table_option


def report(words: Sequence[str]) -> int:
    """Run the subcommand ``report``.

    Args:
        words: The command line after ``report``.

    Returns:
        The exit code.

    Raises:
        UserError: There is no run in the folders, or the report cannot be written.
    """
    parser = WordsParser(
        prog="lightning-vision report",
        allow_abbrev=False,
        description="Write a self-contained page (report.html), its charts as PNG and its tables as CSV, Markdown and LaTeX, from run "
        "directories or folders of them, including unfinished ones.",
    )
    parser.add_argument(
        "folders",
        nargs="+",
        metavar="DIR",
        help="run directories, folders with run directories, or runs on the Hub, hf://owner/name",
    )
    parser.add_argument("--output", type=Path, help="the folder that is written; default: report in the first DIR")
    add_table_option(parser)
    given = parser.parse_args(list(words))
    print_report(
        *build_report(given.folders, given.output), Console(soft_wrap=True, highlight=False), given.table or "terminal"
    )
    return 0
