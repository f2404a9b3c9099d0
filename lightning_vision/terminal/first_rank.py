"""Lines that one process alone says where several run."""

from __future__ import annotations

import sys

from lightning.fabric.utilities.rank_zero import rank_zero_only


def is_first() -> bool:
    """Whether this is rank 0, known from the environment before any process group is there."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def say(text: str) -> None:
    """A line for the user on standard error, from rank 0 alone."""
    if is_first():
        print(text, file=sys.stderr, flush=True)
