"""The options that are the program's own, beside those of the model, the data and the trainer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightning_vision.explanation.options import ExplainOptions
from lightning_vision.exporting.options import ExportOptions
from lightning_vision.trust.options import TrustOptions

FROM_CHECKPOINT = ("validate", "test", "predict", "explain", "export")


OPTIONS: dict[str, type] = {"test": TrustOptions, "explain": ExplainOptions, "export": ExportOptions}
"""Options of a subcommand beside those that all have."""


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
