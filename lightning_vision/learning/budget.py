"""A budget of optimizer steps or energy for all increments of a run, and the callback that keeps it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lightning.pytorch import Trainer

from lightning_vision.errors import ConfigError, TrainingError
from lightning_vision.learning.step_limit import TrainingLimit
from lightning_vision.terminal.wording import figure
from lightning_vision.tracking.energy import EnergyMeter, Task

UNITS = {"steps": "optimizer steps", "kwh": "kWh"}
LONGEST_LAP, SHORTEST_LAP = 30.0, 0.2
"""Seconds between two readings of the energy: half of the time that the rest of the budget will last, within these."""


@dataclass(frozen=True)
class Budget:
    """What a run may spend on learning its increments; the base is not counted.

    Increment k of K may use what is left of limit k / K, so that each has an equal share and what one does not use goes to
    the next. A budget per experience is that of Prabhu et al., Computationally Budgeted Continual Learning: What Does Matter?,
    CVPR 2023 (arXiv 2303.11165).
    """

    kind: Literal["steps", "kwh"]
    limit: float

    @classmethod
    def read(cls, text: str) -> Budget:
        """A budget as the option has it, ``steps=N`` or ``kwh=X``.

        Raises:
            ConfigError: It is neither, or not above 0.
        """
        kind, _, number = text.partition("=")
        expected = "budget: expected steps=N (optimizer steps, a whole number from 1 on) or kwh=X (above 0)"
        if "," in number or kind not in UNITS:
            raise ConfigError(f"{expected}, found {text!r}. Give one of the two.")
        try:
            limit = float(number)
        except ValueError as error:
            raise ConfigError(f"{expected}, found {text!r}.") from error
        if not (0 < limit < math.inf) or (kind == "steps" and not limit.is_integer()):
            raise ConfigError(f"{expected}, found {text!r}.")
        return cls("steps" if kind == "steps" else "kwh", limit)

    def until(self, increment: int, increments: int) -> float:
        """What may have been spent when an increment ends.

        Args:
            increment: Its number, from 1 on.
            increments: How many the stream has.
        """
        share = self.limit * increment / increments
        return math.floor(share + 1e-9) if self.kind == "steps" else share

    def __str__(self) -> str:
        return f"{figure(self.limit)} {UNITS[self.kind]}"


class BudgetStop(TrainingLimit):
    """Ends the training of an experience at the first step at which the budget is used up.

    Args:
        budget: The budget.
        until: What may have been spent when this experience ends.
        spent: What earlier experiences spent, in optimizer steps or kWh.
        steps: Optimizer steps of earlier stages of this experience.
        meter: Measures the energy.
        task: The learning of this experience.
    """

    def __init__(
        self, budget: Budget, until: float, spent: float, steps: Callable[[], int], meter: EnergyMeter, task: Task
    ) -> None:
        self.budget, self.until, self.before = budget, until, spent
        self.steps, self.meter, self.task = steps, meter, task
        self._lap = SHORTEST_LAP

    def reached(self, trainer: Trainer) -> bool:
        """Whether the budget up to the end of this experience is used up."""
        return (self._steps(trainer) if self.budget.kind == "steps" else self._kwh()) >= self.until

    def _steps(self, trainer: Trainer) -> float:
        return self.before + self.steps() + trainer.global_step

    def _kwh(self) -> float:
        """Read anew where the last reading is old: one takes a millisecond, and a row in emissions.csv.

        Raises:
            TrainingError: The energy is no longer measured.
        """
        if self.meter.since_lap() >= self._lap:
            self.meter.lap()
            used, seconds = self.task.energy_kwh, self.task.seconds
            if used is None:
                raise TrainingError(
                    "budget: the energy is no longer measured (see the warning above), so a budget in kWh cannot be kept. "
                    "Resume with --ckpt_path last, or give a budget in steps."
                )
            left = (self.until - self.before - used) * seconds / used if used > 0 else 0.0
            self._lap = min(LONGEST_LAP, max(SHORTEST_LAP, left / 2))
        return self.before + (self.task.energy_kwh or 0.0)
