"""Checks that are made before a run starts."""

from __future__ import annotations

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import ConfigError
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.learner_checks import check_classes, check_learner


def check_plan(model: ContinualClassifier, datamodule: StreamDataModule) -> None:
    """Refuse a run that cannot work, before it starts.

    Raises:
        ConfigError: The strategy cannot learn in this scenario, or something that it declares to need is missing.
        DataError: There is only one class.
    """
    stream = datamodule.stream
    check_classes(model.class_names, datamodule.batch_transform)
    for strategy, base in ((model.strategy, False), (model.base_strategy, True)):
        learned = [experience for experience in stream if experience.is_base is base]
        if learned or not base:
            check_learner(strategy, stream.scenario, learned, datamodule.val_fraction)
    if stream.scenario != "Joint" and not stream[0].is_base and not model.base_checkpoint:
        raise ConfigError(
            "Every experience is an increment (base_fraction: 0), so there is nothing to start from. Give "
            "model.base_checkpoint (a checkpoint or the directory of a run), or a base_fraction above 0."
        )
