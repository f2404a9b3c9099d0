"""What is refused before a run starts."""

from __future__ import annotations

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.strategy import ALL_SCENARIOS, Strategy


def check_plan(model: ContinualClassifier, datamodule: StreamDataModule) -> None:
    """Refuse a run that cannot work, before it starts.

    Raises:
        ConfigError: The strategy cannot learn in this scenario, or lacks what it declares to need.
        DataError: There is nothing to tell apart.
    """
    stream = datamodule.stream
    if len(model.class_names) < 2:
        raise DataError(
            f"There is one class, '{model.class_names[0]}', and a classifier needs at least 2. Give images of another "
            "class too, or model.base_checkpoint: a run that knows other classes."
        )
    datamodule.batch_transform.check_classes(len(model.class_names))
    learners = [model.strategy, *([model.base_strategy] if stream[0].is_base else [])]
    for strategy in learners:
        name = type(strategy).__name__
        if stream.scenario not in strategy.scenarios and stream.scenario in ALL_SCENARIOS:
            raise ConfigError(
                f"{name} cannot learn in the scenario {stream.scenario}; it can in {', '.join(sorted(strategy.scenarios))}. "
                "Choose another data.stream or another model.strategy."
            )
        if strategy.kind not in ("gradient", "closed_form"):
            raise ConfigError(f"{name}.kind: expected 'gradient' or 'closed_form', found {strategy.kind!r}.")
        if strategy.kind == "closed_form" and type(strategy).update is Strategy.update:
            raise ConfigError(f"{name} declares kind = 'closed_form' and has no update(network, features, labels).")
        if strategy.needs_validation and not all(len(e.val_indices) for e in stream):
            raise ConfigError(
                f"{name} picks one of several variants on validation data, and there is none in some experience "
                f"(data.val_fraction is {datamodule.val_fraction}). Give more of it, fewer experiences, or a single value to {name}."
            )
    if stream.scenario != "Joint" and not stream[0].is_base and not model.base_checkpoint:
        raise ConfigError(
            "Every experience is an increment (base_fraction: 0), so there is nothing to start from. Give "
            "model.base_checkpoint (a checkpoint or the directory of a run), or a base_fraction above 0."
        )
