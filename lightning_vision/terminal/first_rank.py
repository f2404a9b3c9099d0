"""Which of several processes is the first."""

from __future__ import annotations

from lightning.fabric.utilities.rank_zero import rank_zero_only


def is_first() -> bool:
    """Whether this is rank 0, known from the environment before any process group is there."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0
