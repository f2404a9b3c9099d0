"""Limits of training over all stages, checked after each step."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class TrainingLimit(Callback):
    """Ends a stage at the first step at which something is used up."""

    stopped = False
    """Whether it has ended a stage."""

    @abstractmethod
    def reached(self, trainer: Trainer) -> bool:
        """Whether nothing is left."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop at once if nothing is left."""
        self._check(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The limit takes precedence over trainer.min_epochs and trainer.min_steps, as in Lightning."""
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        if self.reached(trainer):
            self.stopped = trainer.should_stop = True
            trainer.fit_loop.min_epochs, trainer.fit_loop.epoch_loop.min_steps = 0, None


class StepLimit(TrainingLimit):
    """Ends a stage after a number of optimizer steps.

    Lightning does so too, but counts an epoch twice if it resumes from a checkpoint while trainer.max_steps is set.

    Args:
        steps: trainer.max_steps.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def reached(self, trainer: Trainer) -> bool:
        """Whether all steps are done."""
        return trainer.global_step >= self.steps
