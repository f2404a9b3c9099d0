"""A fresh Trainer for each experience, from one configuration; and which of Lightning's options a stream can take."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from lightning.fabric.plugins import CheckpointIO
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from lightning_vision.checkpoints import WholeCheckpoints
from lightning_vision.energy import EnergyMeter, Task, Usage
from lightning_vision.errors import ConfigError

# What the program sets where the user says nothing.
TRAINER_DEFAULTS: dict[str, Any] = {
    "default_root_dir": "runs",
    "max_epochs": 10,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
    "log_every_n_steps": 10,
}
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false")
PRECISIONS = ("32", "32-true", "64", "64-true", "bf16-mixed", "16-mixed", "bf16", "16")
# Option, the values that change nothing, and why others are refused.
REFUSED: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    ("barebones", (False, None), "it switches off the checkpoints and metrics that a run is made of"),
    (
        "fast_dev_run",
        (False, None, 0),
        "it switches off checkpoints; for a quick try use trainer.max_epochs=1, trainer.limit_train_batches=2, "
        "trainer.limit_val_batches=2",
    ),
    (
        "overfit_batches",
        (0, 0.0, None),
        "it trains and validates on the same pictures; use trainer.limit_train_batches",
    ),
    ("enable_checkpointing", (True, None), "best weights, going on after a kill and the results need checkpoints"),
    (
        "use_distributed_sampler",
        (False, None),
        "it pads and reorders; the stream's own sampler deals every picture once",
    ),
    (
        "limit_test_batches",
        (None, 1.0),
        "results.json speaks of the whole test set; use data.test_fraction for a smaller one",
    ),
    ("limit_predict_batches", (None, 1.0), "predict writes every picture"),
    ("reload_dataloaders_every_n_epochs", (0, None), "loaders are built anew for each experience already"),
    ("model_registry", (None,), "checkpoints are kept in the run directory"),
)


def check_trainer_options(options: Mapping[str, Any]) -> None:
    """Refuse the trainer options that a stream of experiences cannot take.

    Raises:
        ConfigError: An option is refused, with the reason and what to do instead.
    """
    for key, harmless, reason in REFUSED:
        value = options.get(key)
        if not any(value is h or (type(value) is type(h) and value == h) for h in harmless):
            raise ConfigError(f"trainer.{key}={value!r} cannot be used here: {reason}.")
    strategy = options.get("strategy", "auto")
    name = strategy if isinstance(strategy, str) else _class_path(strategy)
    if name not in STRATEGIES and not name.endswith(("DDPStrategy", "SingleDeviceStrategy")):
        raise ConfigError(
            f"trainer.strategy={name!r} cannot be used here: processes that are forked or spawned lose what was learned, and "
            f"sharded weights cannot be moved by hand. Expected one of {', '.join(STRATEGIES)}."
        )
    method = _init_args(strategy).get("start_method", "popen")
    if method != "popen":
        raise ConfigError(
            f"trainer.strategy: start_method={method!r} cannot be used here: processes that are forked or spawned lose what "
            "was learned. Leave it out."
        )
    precision = options.get("precision")
    if precision is not None and str(precision) not in PRECISIONS:
        raise ConfigError(
            f"trainer.precision={precision!r} cannot be used here: weights kept in half precision lose small updates. "
            f"Expected one of {', '.join(PRECISIONS)}."
        )


def _class_path(value: Any) -> str:
    if isinstance(value, Mapping) or hasattr(value, "class_path"):
        return str(value["class_path"])
    return type(value).__name__


def _init_args(value: Any) -> Mapping[str, Any]:
    return (value.get("init_args") or {}) if isinstance(value, Mapping) else {}


class TrainerFactory:
    """Builds Trainers that differ in nothing but what is asked for.

    Args:
        build: Instantiates the trainer configuration anew: keyword arguments of a Trainer, with fresh callbacks.
        root: Where Lightning writes what it writes by itself.
        loggers: Shared by all of them.
    """

    def __init__(self, build: Callable[[], dict[str, Any]], root: Path, loggers: Sequence[Logger]) -> None:
        self.build = build
        self.root = root
        self.loggers = list(loggers)
        self.standing: dict[int, Callback] = {}
        """Callbacks of which there is one for all Trainers, by their place among the user's."""

    def options(self) -> dict[str, Any]:
        """Keyword arguments of a Trainer, with fresh callbacks but for those that stand."""
        options = self.build()
        options["callbacks"] = _listed(options.get("callbacks"))
        for place, callback in self.standing.items():
            options["callbacks"][place] = callback
        options["default_root_dir"] = str(self.root)  # a leftover hpc_ckpt_* elsewhere is never picked up
        options["logger"] = self.loggers or False
        options["use_distributed_sampler"] = False
        options["enable_progress_bar"] = False  # the run shows its own, over the whole stream
        plugins = _listed(options.get("plugins"))
        if SLURMEnvironment.detect() and not any(isinstance(plugin, SLURMEnvironment) for plugin in plugins):
            plugins.append(SLURMEnvironment(auto_requeue=False))  # the run writes its own checkpoint, see StopSignals
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(WholeCheckpoints())
        options["plugins"] = plugins
        return options

    def training(
        self,
        callbacks: Sequence[Callback],
        best: ModelCheckpoint | None,
        *,
        closed_form_passes: int | None,
        validates: bool,
        **changes: Any,
    ) -> Trainer:
        """A Trainer for one stage of one experience.

        Args:
            callbacks: Added to the user's.
            best: Added where there is validation to choose by.
            closed_form_passes: For a closed form: the number of passes; what only gradients need is then left out.
            validates: The experience has a validation part to look at between epochs.
            changes: Options that differ from the user's.
        """
        options = {**self.options(), **changes}
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
            recipes = self.standing.values()  # which train by gradient
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
        """A Trainer for a pass over pictures, without the user's callbacks for training."""
        options = self.options()
        options |= {"callbacks": list(callbacks), "max_epochs": 1, "profiler": None, "gradient_clip_val": None}
        options["enable_checkpointing"] = False
        return _make(options)


def _make(options: dict[str, Any]) -> Trainer:
    trainer = Trainer(**options)
    if not isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
        raise ConfigError(
            f"trainer.strategy: expected one device or DDP, Lightning chose {type(trainer.strategy).__name__}. "
            f"Expected one of {', '.join(STRATEGIES)}."
        )
    return trainer


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def _watches(callback: Callback, prefix: str = "") -> bool:
    """Stock callbacks that fail where no metric is logged whose name begins so."""
    monitor = getattr(callback, "monitor", None)
    return isinstance(callback, (EarlyStopping, ModelCheckpoint)) and monitor is not None and monitor.startswith(prefix)


class MovableCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that goes on with its best score when the run directory was moved in between.

    Lightning's own forgets what was best when the folder has another name, with a warning.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state as if it had been written here."""
        here = {**state_dict, "dirpath": self.dirpath}
        for key in ("best_model_path", "last_model_path", "kth_best_model_path"):
            if here.get(key):
                here[key] = self._moved(here[key])
        here["best_k_models"] = {self._moved(path): score for path, score in here.get("best_k_models", {}).items()}
        super().load_state_dict(here)

    def _moved(self, path: str) -> str:
        return str(Path(self.dirpath or "") / Path(path).name)


def last_checkpoint(path: Path) -> ModelCheckpoint:
    """Rewrites one file at the end of each epoch. ``save_last`` would do so only when the monitored value improves."""
    return MovableCheckpoint(
        dirpath=path.parent,
        filename=path.stem,
        monitor=None,
        save_top_k=1,
        every_n_epochs=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
        auto_insert_metric_name=False,
    )


def best_checkpoint(path: Path, monitor: str) -> ModelCheckpoint:
    """Keeps the epoch that is best on the experience's own validation part; the first of equals."""
    return MovableCheckpoint(
        dirpath=path.parent,
        filename=path.stem,
        monitor=monitor,
        mode="min" if monitor.endswith("loss") else "max",
        save_top_k=1,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
        auto_insert_metric_name=False,
    )


@dataclass
class Trained:
    """What the finished stages of one experience came to."""

    epochs: int = 0
    steps: int = 0
    parameters: int = 0
    samples: int = 0
    stopped_early: bool = False

    def add(self, trainer: Trainer, parameters: int, samples: int) -> None:
        """Count a stage that has ended."""
        epochs: int = trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined] # of a subclass
        self.epochs += epochs
        self.steps += trainer.global_step
        self.parameters = max(self.parameters, parameters)
        self.samples += samples * epochs
        full = trainer.max_epochs in (None, -1, epochs) or any(
            isinstance(callback, StepLimit) and trainer.global_step >= callback.steps
            for callback in trainer.callbacks  # type: ignore[attr-defined]
        )
        self.stopped_early |= bool(trainer.should_stop) and not full


TALLY = "lightning_vision_tally"


class TallyInCheckpoint(Callback):
    """Keeps in a stage's checkpoints what its experience came to so far: a resumed run goes on counting from there.

    It also keeps whether training was told to stop. Lightning does not: a run that is killed between early stopping
    and the end of the experience would train for one more epoch.

    Args:
        meter: Measures the task.
        task: The learning of this experience.
        images: Pictures that went through the backbone for it so far, over all processes.
        trained: Its finished stages.
        every_seconds: A lap (a row of emissions.csv) is taken at a checkpoint if the last is older.
    """

    def __init__(
        self,
        meter: EnergyMeter,
        task: Task,
        images: Callable[[], int],
        trained: Trained,
        every_seconds: float = 60.0,
    ) -> None:
        self.meter, self.task, self.images, self.trained = meter, task, images, trained
        self.every_seconds = every_seconds

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the sums, as plain values."""
        if self.meter.since_lap() >= self.every_seconds:
            self.meter.lap()
        used = {"seconds": self.task.seconds, "energy_kwh": self.task.energy_kwh, "co2eq_kg": self.task.co2eq_kg}
        checkpoint[TALLY] = {
            "used": used,
            "images": self.images(),
            "trained": asdict(self.trained),
            "should_stop": trainer.should_stop,
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """What was told to stop does not go on."""
        trainer.should_stop = checkpoint[TALLY]["should_stop"]


@dataclass
class Unfinished:
    """What an interrupted attempt at an experience left behind."""

    used: Usage = field(default_factory=Usage)
    images: int = 0
    """Pictures that had gone through the backbone, over all processes."""
    trained: Trained = field(default_factory=Trained)
    """The stages that were finished."""
    stage: int = 0
    """The stage to go on with."""
    path: Path | None = None
    """Its checkpoint; None to begin with it."""
    epoch: int = 0
    batch: int = 0
    """Batches of that epoch that are done."""
    steps: int = 0
    """Optimizer steps of that stage that are done."""

    @classmethod
    def read(cls, path: Path, stage: int, checkpoint: Mapping[str, Any]) -> Unfinished:
        """Where a checkpoint stands."""
        tally, loop = checkpoint[TALLY], checkpoint["loops"]["fit_loop"]
        epoch = loop["epoch_progress"]["current"]
        within = epoch["started"] > epoch["processed"]
        return cls(
            used=Usage(**tally["used"]),
            images=tally["images"],
            trained=Trained(**tally["trained"]),
            stage=stage,
            path=path,
            epoch=epoch["processed"],
            batch=loop["epoch_loop.batch_progress"]["current"]["ready"] if within else 0,
            steps=checkpoint["global_step"],
        )


class StepLimit(Callback):
    """Ends a stage after a number of optimizer steps.

    Lightning does so too, but counts an epoch twice if it goes on from a checkpoint while trainer.max_steps is set.

    Args:
        steps: trainer.max_steps.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """There may be nothing left to do."""
        self._check(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The limit goes before trainer.min_epochs and trainer.min_steps, as it does in Lightning."""
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        if trainer.global_step >= self.steps:
            trainer.should_stop = True
            trainer.fit_loop.min_epochs, trainer.fit_loop.epoch_loop.min_steps = 0, None


class StopRequestedError(BaseException):
    """The run was asked to stop. Not an Exception, so that nothing on the way takes it for a failure of its own."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class StopSignals(Callback):
    """Turns SIGTERM, Ctrl-C and SLURM's warning (SIGUSR1) into a checkpoint and an orderly end.

    While batches are trained the handler only takes note; at the end of the batch all processes agree and write the
    checkpoint, and once that batch is logged they stop. Elsewhere what is on the disk is enough to go on from, and the run stops at once.
    Lightning's own handler is replaced when its loops start: it broadcasts from inside a signal handler.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.path: Path | None = None
        """Where the checkpoint of the present stage is written."""
        self._training = self._saved = False
        self._owner = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        """Install the handlers."""
        signals = [signal.SIGTERM, signal.SIGINT]
        if SLURMEnvironment.detect():
            signals.append(signal.SIGUSR1)
        try:
            self._before = {signum: signal.signal(signum, self._note) for signum in signals}
        except ValueError:  # not in the main thread: signals stay with whoever runs there
            self._before = {}
        return self

    def __exit__(self, *_: object) -> None:
        """Put the former handlers back."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _note(self, signum: int, _: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a loader's worker inherited the handler; its parent decides
            return
        again, self.received = self.received is not None, signum
        if not self._training or (again and signum == signal.SIGINT):
            raise StopRequestedError(signum)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on only take note."""
        self._take_over()
        self._training, self._saved = True, False

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """An evaluation is stopped at once: it is short, and done again."""
        self._take_over()

    def _take_over(self) -> None:
        for signum in self._before:
            signal.signal(signum, self._note)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Between epochs the last checkpoint is up to date already."""
        if self._agreed(trainer):
            self.stop()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the checkpoint after an optimizer step; at the end of an epoch its own comes first."""
        between_steps = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if trainer.is_last_batch or not between_steps or _validates_now(trainer, batch_idx):
            return
        if self._agreed(trainer) and self.path is not None:
            trainer.save_checkpoint(self.path, weights_only=False)
            self._saved = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """The batch before is in the checkpoint and, by now, in the loggers."""
        if self._saved:
            self.stop()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on stop at once."""
        self._training = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """The stage is over."""
        self._training = False

    def _agreed(self, trainer: Trainer) -> bool:
        stop = self.received is not None
        return stop if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(stop, all=False)

    def stop(self) -> NoReturn:
        """Stop here.

        Raises:
            StopRequestedError: Always.
        """
        self._training = False
        raise StopRequestedError(self.received or signal.SIGTERM)


def _validates_now(trainer: Trainer, batch_idx: int) -> bool:
    """Whether validation follows a batch. Lightning leaves it out where it goes on from a checkpoint of that batch."""
    every = trainer.val_check_batch
    if not trainer.enable_validation or every is None:
        return False
    done = trainer.fit_loop.total_batch_idx if trainer.check_val_every_n_epoch is None else batch_idx
    return (done + 1) % every == 0
