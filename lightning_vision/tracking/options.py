"""What a run is told about energy and Weights & Biases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class EnergyOptions:
    """How energy is measured.

    Args:
        country: Where the electricity comes from: a 3-letter ISO code or an English name.
        power_watts: Declared power of the machine's processors at full load, where no power counter can be read.
        enabled: False: time alone is measured.
    """

    country: str = "FRA"
    power_watts: float | None = None
    enabled: bool = True


@dataclass
class WandbOptions:
    """Weights & Biases.

    Args:
        mode: offline (needs no account), online, or disabled. Default: the variable WANDB_MODE, else offline.
        project: The project's name.
        group: The comparison that this run belongs to.
    """

    mode: Literal["offline", "online", "disabled"] | None = None
    project: str = "lightning_vision"
    group: str | None = None
