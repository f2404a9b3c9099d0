"""Recipes: ways of training that any gradient strategy can take, named among ``trainer.callbacks``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_vision.class_path import BuiltWith
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.former_declarations import honour_former_declarations
from lightning_vision.learning.network import Network
from lightning_vision.learning.run_trainer import RunTrainer
from lightning_vision.learning.stage import Stage
from lightning_vision.learning.strategy import Strategy
from lightning_vision.learning.trainer_factory import TrainerFactory
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.tracking.stream_position import StreamPosition


@dataclass(frozen=True)
class Moment:
    """Where a run stands when a recipe is called."""

    model: ContinualClassifier
    datamodule: StreamDataModule
    trainers: TrainerFactory
    directory: RunDirectory
    position: StreamPosition
    experience: Experience
    stage: Stage | None
    """What is about to be trained; None once the experience is finished."""
    resumed: bool
    """The stage goes on from a checkpoint: Lightning will give the recipe its state back."""
    device: torch.device
    rank: int
    world_size: int
    seed: int
    """``seed_everything``."""
    note: Callable[[str], None]
    """Says a sentence to the user and keeps it in the record."""


class Recipe(Callback, BuiltWith):
    """A way of training that any gradient strategy can take.

    A recipe is a Lightning callback. Other callbacks are built anew for each stage; of a recipe there is one for the
    whole run, which hears of the run besides: what is trained, in which stages, and when an experience is over. Its
    state (``state_dict``) travels in the checkpoints, so it must be tensors and plain values. Closed forms take no
    recipe: their data is gone through once, in order.
    """

    EARLIER_DEFAULTS: ClassVar[Mapping[str, object]] = {}
    """See ``Strategy``."""
    needs_images: ClassVar[bool] = False
    """It changes images: none of the features that a frozen backbone's are kept as can be trained on."""

    changes_evaluation: ClassVar[bool] = False
    """It changes how images are evaluated: figures with and without it are not of one kind."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Take former names of what a plugin declares."""
        super().__init_subclass__(**options)
        honour_former_declarations(cls)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Run by each Trainer before it begins.

        Raises:
            ConfigError: It is a plain Trainer, which calls none of a recipe's own hooks.
        """
        if not isinstance(trainer, RunTrainer):
            raise ConfigError(
                f"{type(self).__name__} is a recipe, and recipes need a stream run: use python -m lightning_vision fit with "
                "trainer.callbacks, or take it out of the Trainer's callbacks."
            )

    def before_run(self, model: ContinualClassifier, datamodule: StreamDataModule) -> None:
        """Run once, before anything is learned; and before a checkpoint is evaluated."""

    def stages(self, learner: Strategy, stages: list[Stage], max_epochs: int) -> list[Stage]:
        """The stages of an experience, from those that the learner and the recipes before this one ask for.

        It depends on the configuration alone: a run that goes on calls it again.

        Args:
            learner: The gradient strategy that learns.
            stages: So far; those without epochs of their own take ``max_epochs``.
            max_epochs: Epochs of the experience.
        """
        return stages

    def parameters_to_train(self, network: Network, stage: Stage, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The optimizer's groups, from those that the learner and the recipes before this one ask for.

        Args:
            network: What is trained.
            stage: The present one.
            groups: ``{"params": [...]}``, with options of their own where they have some. ``lr_scale`` multiplies the
                group's learning rate once the optimizer is built, before the scheduler is.
        """
        return groups

    def before_stage(self, moment: Moment) -> None:
        """Run on every process before a stage is trained: what belongs to the one before is over.

        The network is on its device, in evaluation mode.
        """

    def after_experience(self, moment: Moment) -> None:
        """Run on every process once an experience was learned and evaluated, and before it is kept."""


def take_recipes(trainers: TrainerFactory) -> list[Recipe]:
    """The recipes among the user's callbacks, which stand for all Trainers from now on.

    Raises:
        ConfigError: One is listed twice.
    """
    listed = trainers.options()["callbacks"]
    trainers.standing = {place: callback for place, callback in enumerate(listed) if isinstance(callback, Recipe)}
    recipes = [callback for callback in listed if isinstance(callback, Recipe)]
    names = [type(recipe).__name__ for recipe in recipes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"trainer.callbacks: expected each recipe once, found {', '.join(twice)} twice. Remove one.")
    return recipes


def plan_stages(learner: Strategy, experience: Experience, recipes: Sequence[Recipe], max_epochs: int) -> list[Stage]:
    """The stages in which a learner is trained, after all recipes had their say.

    Args:
        learner: Who learns.
        experience: What.
        recipes: In the order in which they are asked.
        max_epochs: Epochs of a stage that has none of its own.
    """
    planned = [Stage(name) for name in learner.stages(experience)]
    if learner.kind == "closed_form":
        return planned
    for recipe in recipes:
        planned = recipe.stages(learner, planned, max_epochs)
    return planned
