"""Checks that are made before a strategy learns."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.images.batch_transforms import BatchTransforms
from lightning_vision.learning.strategy import ALL_SCENARIOS, Strategy


def check_classes(class_names: Sequence[str], batch_transform: BatchTransforms) -> None:
    """Refuse a single class, and transforms that were made for another number of classes.

    Args:
        class_names: The classifier's C classes.
        batch_transform: The transform of the training batches.

    Raises:
        DataError: There is only one class.
        ConfigError: The transforms do not fit.
    """
    if len(class_names) < 2:
        raise DataError(
            f"There is one class, '{class_names[0]}', and a classifier needs at least 2. Give images of another "
            "class too, or model.base_checkpoint with a run that has learned other classes."
        )
    batch_transform.check_classes(len(class_names))


def check_one_epoch(strategy: Strategy, epochs: int | None) -> None:
    """Refuse several passes over an online stream.

    Args:
        strategy: The learning strategy.
        epochs: Of an experience, as the Trainer has them; a closed form has its own number.

    Raises:
        ConfigError: There is more than one.
    """
    name = type(strategy).__name__
    if strategy.kind == "closed_form":
        if strategy.passes > 1:
            raise ConfigError(
                f"data.stream.online: every image is learned from once, and {name} reads the data {strategy.passes} times. Choose "
                "another model.strategy, or remove data.stream.online."
            )
    elif epochs != 1:
        raise ConfigError(
            f"data.stream.online: every image is learned from once: expected trainer.max_epochs: 1, found {epochs}. Set "
            "trainer.max_epochs to 1, or remove data.stream.online."
        )


def check_learner(strategy: Strategy, scenario: str, experiences: Sequence[Experience], val_fraction: float) -> None:
    """Refuse a strategy that cannot learn a stream.

    Args:
        strategy: The learning strategy.
        scenario: The name of the stream's scenario.
        experiences: The experiences that it learns.
        val_fraction: The share of the training data that was cut off for validation, for a message.

    Raises:
        ConfigError: The strategy cannot learn in this scenario, or something that it declares to need is missing.
    """
    name = type(strategy).__name__
    if scenario not in strategy.scenarios and scenario in ALL_SCENARIOS:
        raise ConfigError(
            f"{name} cannot learn in the scenario {scenario}; it can in {', '.join(sorted(strategy.scenarios))}. "
            "Choose another data.stream or another model.strategy."
        )
    if strategy.kind not in ("gradient", "closed_form"):
        raise ConfigError(f"{name}.kind: expected 'gradient' or 'closed_form', found {strategy.kind!r}.")
    if strategy.kind == "closed_form" and type(strategy).update is Strategy.update:
        raise ConfigError(f"{name} declares kind = 'closed_form' and has no update(network, features, labels).")
    if strategy.needs_validation and not all(len(e.val_indices) for e in experiences):
        raise ConfigError(
            f"{name} picks one of several variants on validation data, and there is none in some experience "
            f"(data.val_fraction is {val_fraction}). Give more of it, fewer experiences, or a single value to {name}."
        )
    if strategy.changes_classifier and any(experience.is_base for experience in experiences):
        raise ConfigError(
            f"{name} changes a trained classifier, so it cannot learn the base. Give a strategy that trains as "
            "model.base_strategy: HeadOnly, FullFineTune or LinearProbeThenFineTune."
        )
