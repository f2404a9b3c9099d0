"""The calibration in a checkpoint: the temperature, and the threshold with its coverage and risk."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from lightning_vision.errors import CheckpointError
from lightning_vision.learning.checkpoint_file import save_checkpoint
from lightning_vision.learning.checkpoints import read_checkpoint

KEY = "lightning_vision_trust"


@dataclass(frozen=True)
class Trusted:
    """The entry of a checkpoint; predictions do not depend on it."""

    temperature: float = 1.0
    threshold: float | None = None
    """Of the confidence at that temperature; None: no image is rejected."""
    coverage: float | None = None
    """Share of the validation images that it accepts."""
    risk: float | None = None
    """Share of errors among those."""


def read_trusted(path: Path) -> Trusted | None:
    """The calibration in a checkpoint; None if nothing was fitted.

    Raises:
        CheckpointError: The checkpoint cannot be read, or the entry is not valid.
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
        raise CheckpointError(f"{path}: its temperature is not valid ({entry!r}). Fit it again with --calibrate true.")
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
