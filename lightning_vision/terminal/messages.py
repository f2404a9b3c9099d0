"""Lines for the user. Of several processes, only the first prints them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from lightning_vision.terminal.first_rank import is_first
from lightning_vision.terminal.wording import printable_lines

_muted: ContextVar[bool] = ContextVar("muted", default=False)


def print_line(text: str) -> None:
    """Print a line of a command's result on standard output."""
    if speaks():
        print(text, flush=True)


def print_notice(text: str) -> None:
    """Print other information for the user on standard error; control characters in names are escaped."""
    if speaks():
        print(printable_lines(text), file=sys.stderr, flush=True)


def speaks() -> bool:
    """Whether this process prints: it is the first, and not muted."""
    return is_first() and not _muted.get()


@contextmanager
def muted(silent: bool = True) -> Iterator[None]:
    """Print nothing inside the block.

    Args:
        silent: False: print as usual.
    """
    token = _muted.set(_muted.get() or silent)
    try:
        yield
    finally:
        _muted.reset(token)
