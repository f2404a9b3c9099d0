"""What the training loader serves."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_vision.array_types import Rows


@dataclass(frozen=True)
class Entered:
    """What the training loader serves."""

    experience: int
    seed: int
    shuffle: bool = True
    memory: Rows | None = None
    memory_size: int = 0
    epoch: int = 0
    start_batch: int = 0
    all_seen: bool = False
    features: bool = False
    augment: bool = True
