"""The options of a subcommand that has a parser of its own."""

from __future__ import annotations

import argparse
from typing import NoReturn

from lightning_vision.errors import ConfigError


class WordsParser(argparse.ArgumentParser):
    """A parser of a subcommand's own options that raises instead of exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{self.prog.split()[-1]}: {message}. {self.prog} --help shows its options.")


def add_table_option(parser: argparse.ArgumentParser) -> None:
    """The option of ``report`` and ``compare`` for the form in which the ranking is printed."""
    parser.add_argument(
        "--table",
        choices=("terminal", "latex", "markdown"),
        help="print the ranking as a table for a paper, as in table.tex (latex) and table.md (markdown) of the report; default: "
        "terminal",
    )
