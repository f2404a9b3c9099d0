"""A checkpoint with the model and the data that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.trainer_factory import TrainerFactory
from lightning_vision.results.run_directory import RunDirectory


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A classifier with the weights of a checkpoint, its data, and a factory of Trainers.

    Args:
        model: The classifier, at the end of the checkpoint's experience.
        datamodule: Its data; the classes are those of the checkpoint, in its order.
        trainers: Builds Trainers with the run's options.
        path: The checkpoint's file.
        experience: The index of the experience after which it was written.
    """

    model: ContinualClassifier
    datamodule: StreamDataModule
    trainers: TrainerFactory
    path: Path
    experience: int

    @property
    def directory(self) -> RunDirectory:
        """The directory of the checkpoint's run."""
        return RunDirectory(self.path.parent.parent)
