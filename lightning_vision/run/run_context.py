"""The state that the parts of a run share."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.stream import Experience
from lightning_vision.features.feature_serving import FeatureServing
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.frozen_weights import FrozenWeights
from lightning_vision.learning.recipe import Moment, Recipe, take_recipes
from lightning_vision.learning.stage import Stage
from lightning_vision.learning.stop_signals import StopSignals
from lightning_vision.learning.trainer_factory import TrainerFactory
from lightning_vision.results import schema
from lightning_vision.results.record import StreamRecord
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.run.run_options import RunOptions
from lightning_vision.tracking.energy import EnergyMeter
from lightning_vision.tracking.progress import StreamProgress
from lightning_vision.tracking.stream_position import StreamPosition


@dataclass(frozen=True)
class RunProcess:
    """The rank and the device of a process of a run."""

    device: torch.device
    rank: int
    world_size: int
    environment: schema.Environment


@dataclass
class RunContext:
    """The inputs and the state of a run.

    ``process`` and ``record`` are set when the run has started, ``macs`` after an experience.
    """

    model: ContinualClassifier
    datamodule: StreamDataModule
    trainers: TrainerFactory
    directory: RunDirectory
    meter: EnergyMeter
    signals: StopSignals
    progress: StreamProgress
    options: RunOptions
    position: StreamPosition = field(default_factory=StreamPosition)
    recipes: list[Recipe] = field(init=False)
    features: FeatureServing = field(init=False)
    frozen: FrozenWeights = field(init=False)
    process: RunProcess = field(init=False)
    record: StreamRecord = field(init=False)
    macs: int | None = None
    """Multiply-adds of the prediction for one image after the last finished experience, if they can be counted."""

    def __post_init__(self) -> None:
        self.recipes = take_recipes(self.trainers)
        self.frozen = FrozenWeights(self.directory.checkpoints)
        ends_with_base = self.options.stop_after == 0
        self.features = FeatureServing(self.model, self.datamodule, self.progress.say, ends_with_base)

    @cached_property
    def max_epochs(self) -> int:
        """The Trainer's ``max_epochs``; 1 if it limits only steps or time. Read once, because building the options takes time."""
        return self.trainers.build().get("max_epochs") or 1

    def note(self, text: str) -> None:
        """Print a sentence for the user and add it to the record."""
        self.record.notes.append(text)
        self.progress.say(text)

    def moment(self, experience: Experience, stage: Stage | None, resumed: bool = False) -> Moment:
        """The state of the run for a recipe."""
        return Moment(
            model=self.model,
            datamodule=self.datamodule,
            trainers=self.trainers,
            directory=self.directory,
            position=self.position,
            experience=experience,
            stage=stage,
            resumed=resumed,
            device=self.process.device,
            rank=self.process.rank,
            world_size=self.process.world_size,
            seed=self.options.seed,
            note=self.note,
        )
