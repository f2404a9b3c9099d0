"""What a checkpoint keeps of how far it may be trusted: the temperature, and the threshold with what it did."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from lightning_vision.errors import CheckpointError
from lightning_vision.learning.checkpoints import read_checkpoint, save_checkpoint

KEY = "lightning_vision_trust"


@dataclass(frozen=True)
class Trusted:
    """The entry of a checkpoint; predictions do not depend on it."""

    temperature: float = 1.0
    threshold: float | None = None
    """Of the confidence at that temperature; None: nothing is rejected."""
    coverage: float | None = None
    """Share of the validation images that it accepts."""
    risk: float | None = None
    """Share of errors among those."""


def read_trusted(path: Path) -> Trusted | None:
    """What a checkpoint keeps; None if nothing was fitted.

    Raises:
        CheckpointError: The checkpoint cannot be read, or the entry is none of ours.
    """
    entry = read_checkpoint(path).get(KEY)
    if entry is None:
        return None
    try:
        trusted = Trusted(**entry)
        usable = math.isfinite(trusted.temperature) and trusted.temperature > 0
    except TypeError:
        usable = False
    if not usable:
        raise CheckpointError(f"{path}: its temperature cannot be used ({entry!r}). Fit it anew by --calibrate true.")
    return trusted


def keep_trusted(trusted: Trusted, path: Path) -> None:
    """Write the entry into a checkpoint, whole or not at all; all else in it stays as it is.

    Raises:
        CheckpointError: It cannot be read.
        TrainingError: It cannot be written; what was there is unchanged.
    """
    checkpoint = read_checkpoint(path)
    checkpoint[KEY] = asdict(trusted)
    save_checkpoint(checkpoint, path)
