"""Checks that are made before a run starts."""

from __future__ import annotations

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import ConfigError
from lightning_vision.learning.checkpoint_file import Checkpoint
from lightning_vision.learning.checkpoints import has_statistics
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.learner_checks import check_classes, check_learner
from lightning_vision.learning.strategy import gathers_base_data
from lightning_vision.terminal.wording import listed

BASE_OPTIONS = ("base_strategy", "base_optimizer", "base_lr_scheduler", "base_epochs")


def has_base(model: ContinualClassifier) -> bool:
    """Whether a base is trained or given before the strategy learns, where the stream has one."""
    return model.base_checkpoint is not None or not model.strategy.learns_base


def unused_base_options(model: ContinualClassifier) -> list[str]:
    """A note about options that are given for a base although there is none; empty without such options."""
    given = [f"model.{name}" for name in BASE_OPTIONS if model.hparams.get(name) is not None]
    if has_base(model) or not given:
        return []
    used = "is not used" if len(given) == 1 else "are not used"
    return [f"{type(model.strategy).__name__} learns experience 0 itself: {listed(given)} {used}."]


def check_plan(model: ContinualClassifier, datamodule: StreamDataModule) -> None:
    """Refuse a run that cannot work, before it starts.

    Raises:
        ConfigError: The strategy cannot learn in this scenario, or something that it declares to need is missing.
        DataError: There is only one class.
    """
    stream = datamodule.stream
    check_classes(model.class_names, datamodule.batch_transform)
    for strategy, base in ((model.base_strategy, True), (model.strategy, False)):  # the base announces its grafts
        learned = [experience for experience in stream if experience.is_base is base]
        if learned or not base:
            check_learner(strategy, stream.scenario, learned, datamodule.val_fraction)
            strategy.check_network(model.network)
    if stream.scenario != "Joint" and not stream[0].is_base and not model.base_checkpoint and has_base(model):
        raise ConfigError(
            "Every experience is an increment (base_fraction: 0), so there is nothing to start from. Give "
            "model.base_checkpoint (a checkpoint or the directory of a run), or a base_fraction above 0."
        )
    if datamodule.new_classes == "allow" and not model.base_checkpoint:
        raise ConfigError(
            "data.new_classes is allow, and no base is given beside whose classes others are new. Give "
            "model.base_checkpoint (a checkpoint or the directory of a run), or remove data.new_classes."
        )


def check_new_classes(checkpoint: Checkpoint, model: ContinualClassifier, datamodule: StreamDataModule) -> None:
    """Refuse new classes that would not be learned, and a strategy that would lose the classes of the base.

    Raises:
        ConfigError: The stream begins with the base's experience, which is not trained again, and it has new classes; or the
            strategy predicts by statistics that the base does not hold.
    """
    if datamodule.new_classes != "allow":
        return
    first, names = datamodule.stream[0], datamodule.class_names
    if first.is_base and first.new_classes:
        raise ConfigError(
            f"Experience 0 is the base's, which is not trained again, so {listed(names[label] for label in first.new_classes)} "
            "would never be learned. Make every experience an increment: data.stream InstanceIncremental with base_fraction: 0."
        )
    trained = {label for experience in datamodule.stream for label in experience.classes}
    lost = [name for label, name in enumerate(names) if label not in trained]
    if lost and gathers_base_data(model.strategy) and not has_statistics(checkpoint, model):
        raise ConfigError(
            f"{type(model.strategy).__name__} predicts by statistics of the images that it has seen; the base holds none for it, "
            f"and {listed(lost)} {'has' if len(lost) == 1 else 'have'} no training image here, so it could not predict "
            f"{'it' if len(lost) == 1 else 'them'} any more. Start from a run with this strategy and the same options, where it "
            "can take further classes; give images of these classes; or choose a strategy that trains the head."
        )
