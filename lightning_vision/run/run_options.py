"""Options of a run besides model, data and trainer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lightning_vision.learning.budget import Budget


@dataclass
class RunOptions:
    """Options of a run besides model, data and trainer."""

    name: str
    seed: int = 0
    resume: bool = False
    keep_checkpoints: str | int = "last"
    stop_after: int | None = None
    """The experience after which the run stops; it can be resumed later. None: the last."""
    budget: Budget | None = None
    """What all increments together may spend."""
    tune_on: int | None = None
    """Learn this many first experiences alone, and evaluate on their validation images in place of test images."""
    probe: bool = False
    """Fit a linear probe after each experience."""
    strategy_config: dict[str, Any] = field(default_factory=dict)
    """``class_path`` and ``init_args`` of the learning strategy, for the record."""
    base_strategy_config: dict[str, Any] | None = None
    config_hash: str = ""
