"""The checkpoints of a stage: the last and the best, and how a Trainer writes them."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_vision.learning.checkpoint_file import Checkpoint, save_checkpoint
from lightning_vision.learning.frozen_weights import FrozenWeights, completed

REPEATED_SECONDS = 20.0
"""A closed form that has learned an experience in less time writes no checkpoint before the evaluation."""


class AtomicCheckpoints(TorchCheckpointIO):
    """Lets a Trainer write its checkpoints as the run does: to a file beside the old one, which it then replaces.

    Lightning's own writes to the temporary folder and moves the file, which is a copy if that is on another disk: a
    kill in between would leave half a checkpoint where a whole one had been.
    """

    def save_checkpoint(self, checkpoint: Checkpoint, path: str | Path, storage_options: Any | None = None) -> None:
        """See ``checkpoint_file.save_checkpoint``; Lightning handles the paths of other file systems (``s3://...``)."""
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(checkpoint, Path(path))


class StageCheckpoints(AtomicCheckpoints):
    """Writes the checkpoints of a stage without the frozen weights, which are in a file of their own.

    Other checkpoints, such as those of the user's callbacks, are written with all weights.

    Args:
        paths: The checkpoints of the stage.
        frozen: The frozen weights of the run.
    """

    def __init__(self, paths: Collection[Path], frozen: FrozenWeights) -> None:
        self.paths, self.frozen = {path.resolve() for path in paths}, frozen

    def save_checkpoint(self, checkpoint: Checkpoint, path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint."""
        if Path(path).resolve() in self.paths:
            checkpoint = self.frozen.left_out(checkpoint, write=True)
        super().save_checkpoint(checkpoint, path, storage_options)

    def load_checkpoint(self, path: str | Path, *how: Any, **named: Any) -> Checkpoint:
        """Read a checkpoint with all weights."""
        return completed(super().load_checkpoint(path, *how, **named), Path(path))


class MovableCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that keeps its best score when the run directory was moved in between.

    Lightning's own drops its best score, with a warning, if the folder has another name.

    Args:
        spared_seconds: Nothing is written at the end of an epoch within so many seconds from the start of training.
        options: Of Lightning's.
    """

    def __init__(self, *, spared_seconds: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self._spared_seconds, self._begun = spared_seconds, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the time."""
        super().on_train_start(trainer, pl_module)
        self._begun = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a checkpoint, unless all processes find that the epoch is quickly repeated.

        The loggers are given the epoch's metrics before: Lightning does so later, and after a kill in between they would be
        missing, because a run that resumes begins with the next epoch.
        """
        if self._spared_seconds:
            quick = time.monotonic() - self._begun < self._spared_seconds
            if trainer.strategy.reduce_boolean_decision(quick, all=True):
                return
        _log_epoch(trainer)
        super().on_train_epoch_end(trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state as if it had been written in this folder."""
        here = {**state_dict, "dirpath": self.dirpath}
        for key in ("best_model_path", "last_model_path", "kth_best_model_path"):
            if here.get(key):
                here[key] = self._moved(here[key])
        here["best_k_models"] = {self._moved(path): score for path, score in here.get("best_k_models", {}).items()}
        super().load_state_dict(here)

    def _moved(self, path: str) -> str:
        return str(Path(self.dirpath or "") / Path(path).name)


def _log_epoch(trainer: Trainer) -> None:
    """Give the loggers the metrics of the epoch, as Lightning does at its end; there are none left for it then."""
    connector, loop = trainer._logger_connector, trainer.fit_loop.epoch_loop
    connector.on_epoch_end()  # where callbacks find them afterwards
    loop._batches_that_stepped -= 1  # which counts the next batch already
    connector.update_train_epoch_metrics()
    loop._batches_that_stepped += 1


def last_checkpoint(path: Path, *, closed_form: bool = False) -> ModelCheckpoint:
    """Rewrites one file at the end of each epoch. ``save_last`` does so only if the monitored value improves.

    Args:
        path: The file.
        closed_form: The epoch is the pass of a closed form. Its checkpoint is only read if the run is killed before the
            experience's own is written, so it is left out if learning again takes less time than is usually lost by a kill.
    """
    return MovableCheckpoint(
        spared_seconds=REPEATED_SECONDS if closed_form else 0.0,
        dirpath=path.parent,
        filename=path.stem,
        monitor=None,
        save_top_k=1,
        every_n_epochs=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
        auto_insert_metric_name=False,
    )


def best_checkpoint(path: Path, monitor: str) -> ModelCheckpoint:
    """Keeps the checkpoint of the epoch that is best on the experience's own validation part; the first of equals."""
    return MovableCheckpoint(
        dirpath=path.parent,
        filename=path.stem,
        monitor=monitor,
        mode="min" if monitor.endswith("loss") else "max",
        save_top_k=1,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
        auto_insert_metric_name=False,
    )
