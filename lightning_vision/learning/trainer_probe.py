"""A Trainer that runs nothing, from which the number of processes and the device are read."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer

from lightning_vision.errors import ConfigError


def probe_trainer(options: dict[str, Any], trainer_class: type[Trainer] = Trainer) -> Trainer:
    """A Trainer with these options, without loggers, callbacks and output.

    Args:
        options: Keyword arguments of a Trainer.
        trainer_class: The class that is built.

    Raises:
        ConfigError: Lightning refuses an option.
    """
    silent: dict[str, Any] = {
        "logger": False,
        "callbacks": None,
        "enable_progress_bar": False,
        "enable_checkpointing": False,
        "profiler": None,
    }
    try:
        return trainer_class(**{**options, **silent})
    except (ValueError, TypeError) as error:
        raise ConfigError(f"Lightning refuses an option of the trainer: {error}") from error


def starts_processes(trainer: Trainer) -> bool:
    """Whether Lightning would start the other processes itself, as it does without torchrun and SLURM."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return trainer.strategy.launcher is not None and not getattr(environment, "creates_processes_externally", True)
