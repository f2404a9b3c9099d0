"""Loads a checkpoint's weights into a model that was built from options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.learning.checkpoints import (
    check_fits,
    check_same_strategies,
    find_checkpoint,
    load_into,
    match_classes,
    read_checkpoint,
    use_classes,
)
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.loaded_checkpoint import LoadedCheckpoint
from lightning_vision.learning.recipe import take_recipes
from lightning_vision.learning.strategy import gathers_base_data
from lightning_vision.learning.trainer_factory import TrainerFactory
from lightning_vision.run.plan_checks import has_base


def load_checkpoint(
    model: ContinualClassifier,
    datamodule: StreamDataModule,
    trainer_options: Callable[[], dict[str, Any]],
    ckpt_path: str | Path,
    *,
    seed: int,
    evaluates: bool = True,
) -> LoadedCheckpoint:
    """Match the classes of model and data with those of a checkpoint, and load its weights.

    Args:
        model: The classifier, as it was built.
        datamodule: Its data.
        trainer_options: Builds new keyword arguments of Lightning's Trainer at each call.
        ckpt_path: A checkpoint's file or a run directory.
        seed: The seed of the run, for early checkpoints that do not contain it.
        evaluates: Images are evaluated as in the run, including its recipes.

    Raises:
        CheckpointError: The checkpoint cannot be read, or does not fit the model and the data.
    """
    path = find_checkpoint(ckpt_path)
    checkpoint = read_checkpoint(path)
    names = match_classes(checkpoint["lightning_vision"]["class_names"], datamodule.class_names, path)
    use_classes(model, datamodule, names)
    check_fits(checkpoint, model, path)
    check_same_strategies(checkpoint, model, path)
    model.seed = int(checkpoint["lightning_vision"].get("seed", seed))
    datamodule.prepared.serve_base(has_base(model))
    experience = load_into(model, datamodule.stream, checkpoint, path)
    model.base_statistics = gathers_base_data(model.strategy)  # it then predicts after the base too
    trainers = TrainerFactory(trainer_options, path.parent.parent, [])
    for recipe in take_recipes(trainers) if evaluates else []:
        recipe.before_run(model, datamodule)
    return LoadedCheckpoint(model, datamodule, trainers, path, experience)
