"""Signals that stop a run after it has written a checkpoint."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer


class StopRequestedError(BaseException):
    """The run was asked to stop. Not an ``Exception``, so that no ``except Exception`` on the way catches it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class StopSignals(Callback):
    """On SIGTERM, Ctrl-C and SLURM's warning (SIGUSR1), writes a checkpoint and stops the run.

    During training the handler only sets a flag; at the end of the batch all processes agree and write the checkpoint,
    and they stop after that batch is logged. At other times the files on the disk suffice to resume, and the run stops
    at once. Lightning's own handler is replaced when its loops start: it broadcasts from inside a signal handler.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.path: Path | None = None
        """The path of the current stage's checkpoint."""
        self._training = self._saved = False
        self._owner = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        """Install the handlers."""
        signals = [signal.SIGTERM, signal.SIGINT]
        if SLURMEnvironment.detect():
            signals.append(signal.SIGUSR1)
        try:
            self._before = {signum: signal.signal(signum, self._note) for signum in signals}
        except ValueError:  # not in the main thread, which alone can set handlers
            self._before = {}
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the former handlers."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _note(self, signum: int, _: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a loader's worker inherited the handler; its parent stops it
            return
        again, self.received = self.received is not None, signum
        if not self._training or (again and signum == signal.SIGINT):
            raise StopRequestedError(signum)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on, only set a flag."""
        self._take_over()
        self._training, self._saved = True, False

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """An evaluation is stopped at once: it is short, and it is repeated."""
        self._take_over()

    def _take_over(self) -> None:
        for signum in self._before:
            signal.signal(signum, self._note)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Between epochs the last checkpoint is up to date already."""
        if self._agreed(trainer):
            self.stop()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the checkpoint after an optimizer step; the end of an epoch writes its own before that."""
        between_steps = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if trainer.is_last_batch or not between_steps or _validates_now(trainer, batch_idx):
            return
        if self._agreed(trainer) and self.path is not None:
            trainer.save_checkpoint(self.path, weights_only=False)
            self._saved = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop: the previous batch is in the checkpoint and now in the loggers too."""
        if self._saved:
            self.stop()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on, stop at once."""
        self._training = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """The stage is over."""
        self._training = False

    def _agreed(self, trainer: Trainer) -> bool:
        stop = self.received is not None
        return stop if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(stop, all=False)

    def stop(self) -> NoReturn:
        """Stop the run.

        Raises:
            StopRequestedError: Always.
        """
        self._training = False
        raise StopRequestedError(self.received or signal.SIGTERM)


def _validates_now(trainer: Trainer, batch_idx: int) -> bool:
    """Whether validation follows a batch. Lightning skips it if it resumes from a checkpoint of that batch."""
    every = trainer.val_check_batch
    if not trainer.enable_validation or every is None:
        return False
    done = trainer.fit_loop.total_batch_idx if trainer.check_val_every_n_epoch is None else batch_idx
    return (done + 1) % every == 0
