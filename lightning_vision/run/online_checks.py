"""What an online stream needs: every image is learned from once."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_vision.class_path import class_path, strategy_name
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.online_stream import MeasurementPlan
from lightning_vision.errors import ConfigError
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.learner_checks import check_one_epoch
from lightning_vision.learning.recipe import Recipe, plan_stages


def check_online(
    model: ContinualClassifier, datamodule: StreamDataModule, max_epochs: int, recipes: Sequence[Recipe]
) -> None:
    """Refuse a run of an online stream in which an image would be learned from more than once.

    A base is learned before the stream, in as many epochs as it likes.

    Args:
        model: The classifier.
        datamodule: Its data, an online stream.
        max_epochs: The Trainer's ``max_epochs``.
        recipes: The recipes, which may add stages.

    Raises:
        ConfigError: The strategy, the recipes, the Trainer or the sampler would serve an image again, or the stream ends before
            the first measurement.
    """
    MeasurementPlan.of(datamodule.stream, datamodule.scenario.evaluate_every, datamodule.batch_size)
    strategy, name = model.strategy, strategy_name(class_path(model.strategy))
    if datamodule.sampler == "balanced":
        raise ConfigError(
            "data.stream.online: every image is served once, and data.sampler=balanced repeats the images of small classes. "
            "Remove data.sampler, or weight the loss by data.class_weights."
        )
    if strategy.learns_all_seen:
        raise ConfigError(
            f"data.stream.online: every image is learned from once, and {name} learns the data of all experiences so far again. "
            "Choose another model.strategy, or remove data.stream.online."
        )
    for experience in datamodule.stream:
        if experience.is_base:
            continue
        stages = plan_stages(strategy, experience, recipes, max_epochs)
        if len(stages) > 1:
            found = ", ".join(repr(stage.title) for stage in stages)
            raise ConfigError(
                f"data.stream.online: every image is learned from once, and {name} with these recipes has {len(stages)} stages "
                f"({found}), each of which sees the data. Choose another model.strategy or other recipes, or remove "
                "data.stream.online."
            )
        check_one_epoch(strategy, max_epochs if stages[0].epochs is None else stages[0].epochs)
