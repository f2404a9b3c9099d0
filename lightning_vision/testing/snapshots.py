"""Copies of a run directory at the moment of a kill."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_vision.data.batch import Batch
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.stop_signals import StopSignals

EXPERIENCE = 2


class Snapshots(Callback):
    """Copy the run directory twice during experience 2; a run resumes from a copy as after a kill.

    One copy is made before its first batch, the other in the midst of an epoch, with the checkpoint that a signal would
    have had the run write. In a stream of stages it is the last stage's.
    """

    folder: ClassVar[Path | None] = None
    """Where the copies are put, as ``between`` and ``within``; None: none is made."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing of the experience is trained yet."""
        if self._wanted(pl_module) and trainer.current_epoch == 0 and not self._copy("between").exists():
            self._take(trainer, "between")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """After the first of several batches of the last epoch."""
        last_epoch = trainer.current_epoch + 1 == trainer.max_epochs
        if not (self._wanted(pl_module) and last_epoch and batch_idx == 0) or trainer.is_last_batch:
            return
        signals = next(callback for callback in trainer.callbacks if isinstance(callback, StopSignals))  # type: ignore[attr-defined]
        trainer.save_checkpoint(str(signals.path), weights_only=False)
        self._take(trainer, "within")

    def _wanted(self, module: LightningModule) -> bool:
        experience = module.experience if isinstance(module, ContinualClassifier) else None
        return self.folder is not None and experience is not None and experience.index == EXPERIENCE

    def _copy(self, which: str) -> Path:
        if self.folder is None:
            raise RuntimeError("No folder was set for the copies.")
        return self.folder / which

    def _take(self, trainer: Trainer, which: str) -> None:
        run = Path(trainer.default_root_dir)
        shutil.rmtree(self._copy(which), ignore_errors=True)
        shutil.copytree(run, self._copy(which) / run.name)
