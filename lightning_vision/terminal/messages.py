"""Lines for the user. Where several processes run, the first alone prints them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from lightning_vision.terminal.first_rank import is_first

_muted: ContextVar[bool] = ContextVar("muted", default=False)


def print_line(text: str) -> None:
    """Print a line of what a command answers, on standard output."""
    if speaks():
        print(text, flush=True)


def print_notice(text: str) -> None:
    """Print what the user should know beside the answer, on standard error."""
    if speaks():
        print(text, file=sys.stderr, flush=True)


def speaks() -> bool:
    """Whether this process prints: it is the first, and not muted."""
    return is_first() and not _muted.get()


@contextmanager
def muted(silent: bool = True) -> Iterator[None]:
    """Print nothing inside.

    Args:
        silent: False: print as before.
    """
    token = _muted.set(_muted.get() or silent)
    try:
        yield
    finally:
        _muted.reset(token)
