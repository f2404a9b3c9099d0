"""The order of a command line's words: argparse reads words without an option only if they stand together."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

SAYS = ("true", "false", "yes", "no")
"""Values of flags, which need none."""


def images_first(words: list[str], options: Mapping[str, argparse.Action]) -> list[str]:
    """The words that belong to no option, before all others; the order among them stays.

    Args:
        words: The command line of a subcommand.
        options: The parser's options, with their dashes. Options of classes are not among them, and need a value.
    """
    images: list[str] = []
    others: list[str] = []
    waits: argparse.Action | bool = False
    for word in words:
        if word.startswith("--") or word in options:
            others.append(word)
            waits = "=" not in word and options.get(word, True)
        elif waits and (waits is True or waits.nargs != "?" or word.lower() in SAYS) and not _is_done(waits):
            others.append(word)
            waits = False
        else:
            images.append(word)
            waits = False
    return [*images, *others]


def _is_done(option: argparse.Action | bool) -> bool:
    """Whether an option takes no value."""
    return not isinstance(option, bool) and option.nargs == 0
