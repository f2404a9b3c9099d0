"""A limit of optimizer steps over all stages."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class StepLimit(Callback):
    """Ends a stage after a number of optimizer steps.

    Lightning does so too, but counts an epoch twice if it resumes from a checkpoint while trainer.max_steps is set.

    Args:
        steps: trainer.max_steps.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop at once if no step is left."""
        self._check(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The limit takes precedence over trainer.min_epochs and trainer.min_steps, as in Lightning."""
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        if trainer.global_step >= self.steps:
            trainer.should_stop = True
            trainer.fit_loop.min_epochs, trainer.fit_loop.epoch_loop.min_steps = 0, None
