"""Recipes: training methods for any gradient strategy, listed in ``trainer.callbacks``."""

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
    """The state of a run when a recipe is called."""

    model: ContinualClassifier
    datamodule: StreamDataModule
    trainers: TrainerFactory
    directory: RunDirectory
    position: StreamPosition
    experience: Experience
    stage: Stage | None
    """The stage that is about to be trained; None once the experience is finished."""
    resumed: bool
    """The stage resumes from a checkpoint: Lightning will restore the recipe's state."""
    device: torch.device
    rank: int
    world_size: int
    seed: int
    """``seed_everything``."""
    note: Callable[[str], None]
    """Prints a sentence for the user and adds it to the record."""


class Recipe(Callback, BuiltWith):
    """A training method for any gradient strategy.

    A recipe is a Lightning callback. Other callbacks are created for each stage; a recipe is created once for the
    whole run and has additional hooks: they decide what is trained and in which stages, and run before each stage and
    after each experience. Its state (``state_dict``) is saved in the checkpoints, so it must consist of tensors and
    plain values. Closed forms take no recipe: they read their data once, in order.
    """

    EARLIER_DEFAULTS: ClassVar[Mapping[str, object]] = {}
    """See ``Strategy``."""
    needs_images: ClassVar[bool] = False
    """It changes images, so that the cached features of a frozen backbone cannot be used for training."""

    changes_evaluation: ClassVar[bool] = False
    """It changes how images are evaluated: results with and without it are not comparable."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Apply former names of class attributes."""
        super().__init_subclass__(**options)
        honour_former_declarations(cls)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Called by each Trainer before it begins.

        Raises:
            ConfigError: It is a plain Trainer, which does not call the hooks of recipes.
        """
        if not isinstance(trainer, RunTrainer):
            raise ConfigError(
                f"{type(self).__name__} is a recipe, and recipes need a stream run: use python -m lightning_vision fit with "
                "trainer.callbacks, or take it out of the Trainer's callbacks."
            )

    def before_run(self, model: ContinualClassifier, datamodule: StreamDataModule) -> None:
        """Called once before training, and before a checkpoint is evaluated."""

    def stages(self, learner: Strategy, stages: list[Stage], max_epochs: int) -> list[Stage]:
        """The stages of an experience, made from those of the learner and of the recipes before this one.

        The result must depend on the configuration alone: a resumed run calls it again.

        Args:
            learner: The gradient strategy that learns.
            stages: The stages so far; those without a number of epochs take ``max_epochs``.
            max_epochs: Epochs of the experience.
        """
        return stages

    def parameters_to_train(self, network: Network, stage: Stage, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The optimizer's groups, made from those of the learner and of the recipes before this one.

        Args:
            network: The network that is trained.
            stage: The current stage.
            groups: ``{"params": [...]}`` and any options of the group. ``lr_scale`` multiplies the group's learning
                rate after the optimizer is built and before the scheduler is.
        """
        return groups

    def before_stage(self, moment: Moment) -> None:
        """Called on every process before a stage is trained.

        The network is on its device, in evaluation mode.
        """

    def after_experience(self, moment: Moment) -> None:
        """Called on every process after an experience was learned and evaluated, and before it is saved."""


def take_recipes(trainers: TrainerFactory) -> list[Recipe]:
    """The recipes among the user's callbacks, which all Trainers of the run share.

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
    """The stages in which a learner is trained, after all recipes have changed them.

    Args:
        learner: The gradient strategy that learns.
        experience: The experience that it learns.
        recipes: The recipes, in the order of their calls.
        max_epochs: Epochs of a stage that names none.
    """
    planned = [Stage(name) for name in learner.stages(experience)]
    if learner.kind == "closed_form":
        return planned
    for recipe in recipes:
        planned = recipe.stages(learner, planned, max_epochs)
    return planned
