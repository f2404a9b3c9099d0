"""Builds a new Trainer for each experience from one configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import CheckpointIO
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from lightning_vision.errors import ConfigError
from lightning_vision.learning.run_trainer import RunTrainer
from lightning_vision.learning.stage_checkpoints import AtomicCheckpoints
from lightning_vision.learning.step_limit import StepLimit
from lightning_vision.learning.trainer_options import STRATEGIES


class TrainerFactory:
    """Builds Trainers from one configuration.

    Args:
        build: Instantiates the trainer configuration: keyword arguments of a Trainer, with new callbacks.
        root: The folder for files that Lightning writes by default.
        loggers: Loggers that all Trainers share.
    """

    def __init__(self, build: Callable[[], dict[str, Any]], root: Path, loggers: Sequence[Logger]) -> None:
        self.build = build
        self.root = root
        self.loggers = list(loggers)
        self.standing: dict[int, Callback] = {}
        """Callbacks that all Trainers share, by their position among the user's."""

    def options(self, checkpoints: CheckpointIO | None = None) -> dict[str, Any]:
        """Keyword arguments of a Trainer, with new callbacks except for the shared ones.

        Args:
            checkpoints: Writes and reads checkpoints, unless the user has a plugin that does.
        """
        options = self.build()
        options["callbacks"] = _listed(options.get("callbacks"))
        for place, callback in self.standing.items():
            options["callbacks"][place] = callback
        options["default_root_dir"] = str(self.root)  # so that Lightning finds no old hpc_ckpt_* elsewhere
        options["logger"] = self.loggers or False
        options["use_distributed_sampler"] = False
        options["enable_progress_bar"] = False  # the run has its own, for the whole stream
        plugins = _listed(options.get("plugins"))
        if SLURMEnvironment.detect() and not any(isinstance(plugin, SLURMEnvironment) for plugin in plugins):
            plugins.append(SLURMEnvironment(auto_requeue=False))  # the run writes its own checkpoint, see StopSignals
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(checkpoints or AtomicCheckpoints())
        options["plugins"] = plugins
        return options

    def training(
        self,
        callbacks: Sequence[Callback],
        best: ModelCheckpoint | None,
        *,
        closed_form_passes: int | None,
        validates: bool,
        checkpoints: CheckpointIO | None = None,
        **changes: Any,
    ) -> Trainer:
        """A Trainer for one stage of one experience.

        Args:
            callbacks: Added to the user's.
            best: Added if the experience has a validation part.
            closed_form_passes: For a closed form, the number of passes; options of gradient training are then left out.
            validates: The experience has a validation part, which is evaluated between epochs.
            checkpoints: See ``options``.
            changes: Options that differ from the user's.
        """
        options = {**self.options(checkpoints), **changes}
        own = options["callbacks"]
        if closed_form_passes is not None:
            options |= {
                "max_epochs": closed_form_passes,
                "min_epochs": None,
                "max_steps": -1,
                "min_steps": None,
                "accumulate_grad_batches": 1,
                "gradient_clip_val": None,
                "gradient_clip_algorithm": None,
            }
            recipes = self.standing.values()  # recipes are for gradient training
            own = [callback for callback in own if not _watches(callback) and callback not in recipes]
            validates = False
        steps = options.get("max_steps", -1)
        if steps >= 0:
            options["max_steps"] = -1
            own = [*own, StepLimit(steps)]
        if not validates:
            options["limit_val_batches"] = 0
            own = [callback for callback in own if not _watches(callback, "val/")]
        choosing = [best] if best is not None and validates and options.get("limit_val_batches") != 0 else []
        options["callbacks"] = [*own, *callbacks, *choosing]
        return _make(options)

    def evaluation(self, callbacks: Sequence[Callback] = ()) -> Trainer:
        """A Trainer for an evaluation, without the user's callbacks for training."""
        options = self.options()
        options |= {"callbacks": list(callbacks), "max_epochs": 1, "profiler": None, "gradient_clip_val": None}
        options["enable_checkpointing"] = False
        return _make(options)


def _make(options: dict[str, Any]) -> Trainer:
    trainer = RunTrainer(**options)
    if not isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
        raise ConfigError(
            f"trainer.strategy: expected one device or DDP, Lightning chose {type(trainer.strategy).__name__}. "
            f"Expected one of {', '.join(STRATEGIES)}."
        )
    return trainer


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def _watches(callback: Callback, prefix: str = "") -> bool:
    """Lightning's callbacks that fail if no metric is logged whose name has this prefix."""
    monitor = getattr(callback, "monitor", None)
    return isinstance(callback, (EarlyStopping, ModelCheckpoint)) and monitor is not None and monitor.startswith(prefix)
