"""Which of several processes is the first."""

from __future__ import annotations

import os
import sys

VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Where Lightning looks for the rank before a process group is there, in this order."""


def is_first() -> bool:
    """Whether this is rank 0, known from the environment before any process group is there. Lightning is not imported."""
    lightning = sys.modules.get("lightning.fabric.utilities.rank_zero")
    if lightning is not None:
        return int(getattr(lightning.rank_zero_only, "rank", 0)) == 0
    return int(next((os.environ[name] for name in VARIABLES if name in os.environ), 0)) == 0
