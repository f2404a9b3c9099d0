"""Keeps the parsers of one command line for the next of the same process: to build them takes longer than to parse."""

from __future__ import annotations

from typing import Any

ATTRIBUTES = ("parser", "subparser", "_subcommand_parsers", "_subcommand_method_arguments")
"""What a ``StreamCLI`` sets when it builds the parsers of a subcommand."""

_kept: dict[str, dict[str, Any]] = {}


def take_parsers(words: list[str]) -> dict[str, Any] | None:
    """The attributes that were kept for the subcommand of a command line; nobody else can take them until they are kept again.

    Help lists the classes that were imported when a parser was built, so it gets new ones.
    """
    if any(word in ("-h", "--help") or word.partition("=")[0].endswith(".help") for word in words):
        return None
    return _kept.pop(words[0], None) if words else None


def keep_parsers(cli: Any) -> None:
    """Keep the parsers of a ``StreamCLI`` that ended without an error and parses nothing more."""
    for parser in (cli.parser, cli.subparser):
        # Instantiators refer to the CLI, and so to its model and data. This sets a private attribute; a test checks it.
        parser._instantiators = None
    _kept[cli.asked] = {name: getattr(cli, name) for name in ATTRIBUTES}
