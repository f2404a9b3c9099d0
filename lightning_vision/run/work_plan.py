"""The work of each experience, for the estimate of the remaining time."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.stream import Experience
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.recipe import Recipe, plan_stages
from lightning_vision.learning.strategy import Strategy


def epochs_of(model: ContinualClassifier, experience: Experience, max_epochs: int) -> int:
    """Epochs of an experience's stage that names none."""
    return model.base_epochs if experience.is_base and model.base_epochs is not None else max_epochs


def work(
    model: ContinualClassifier,
    datamodule: StreamDataModule,
    max_epochs: int,
    recipes: Sequence[Recipe] = (),
    stop_after: int | None = None,
) -> list[float]:
    """The work of each experience in images through the network; a backward pass counts as two more.

    Args:
        model: The classifier with its strategies.
        datamodule: The stream.
        max_epochs: The Trainer's ``max_epochs``.
        recipes: The recipes, which may add stages.
        stop_after: The last experience that is learned; None: the last of the stream.
    """
    stream = list(datamodule.stream)
    plan, val = [], 0
    test = sum(len(e.test_indices) for e in stream)
    for e in stream if stop_after is None else stream[: stop_after + 1]:
        learner = model.base_strategy if e.is_base else model.strategy
        each = epochs_of(model, e, max(1, max_epochs))
        stages = plan_stages(learner, e, recipes, each)
        epochs = sum(each if stage.epochs is None else stage.epochs for stage in stages)
        if learner.kind == "closed_form":
            epochs = learner.passes
        if e.is_base and model.base_checkpoint:
            epochs = 0
        val += len(e.val_indices)
        trained, checked = served(datamodule, learner, e)
        checked = checked if learner.kind == "gradient" else 0
        plan.append(epochs * (cost(learner) * trained + checked) + val + test)
    return plan


def served(datamodule: StreamDataModule, learner: Strategy, experience: Experience) -> tuple[int, int]:
    """Numbers of training and validation images of a strategy in an experience."""
    first = 0 if learner.learns_all_seen else experience.index
    given = list(datamodule.stream)[first : experience.index + 1]
    return sum(len(e.indices) for e in given), sum(len(e.val_indices) for e in given)


def cost(learner: Strategy) -> float:
    """Cost of training on one image in forward passes: a backward pass costs about two."""
    return 1.0 if learner.freezes_backbone else 3.0
