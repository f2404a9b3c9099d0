"""Finds out whether this process is the first of several."""

from __future__ import annotations

import os
import sys

VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""The environment variables in which Lightning looks for the rank before there is a process group, in this order."""


def is_first() -> bool:
    """Whether this is rank 0, from the environment, before there is a process group. Does not import Lightning."""
    lightning = sys.modules.get("lightning.fabric.utilities.rank_zero")
    if lightning is not None:
        return int(getattr(lightning.rank_zero_only, "rank", 0)) == 0
    return int(next((os.environ[name] for name in VARIABLES if name in os.environ), 0)) == 0
