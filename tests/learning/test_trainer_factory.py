"""Every option of Lightning's Trainer works in a run over a stream, or is refused with the reason."""

import inspect
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import start
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelSummary, ProgressBar, Timer
from lightning.pytorch.plugins.io import AsyncCheckpointIO
from lightning.pytorch.profilers import SimpleProfiler
from lightning.pytorch.strategies import DDPStrategy

from lightning_vision.errors import ConfigError
from lightning_vision.learning.stage_checkpoints import AtomicCheckpoints, last_checkpoint
from lightning_vision.learning.stop_signals import StopSignals
from lightning_vision.learning.trainer_factory import TrainerFactory
from lightning_vision.learning.trainer_options import REFUSED, check_trainer_options
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.schema import Results, read_results


class Watch(Callback):
    """Writes down what it sees of the Trainers of a run."""

    def __init__(self) -> None:
        runs[-1].watches.append(self)
        self.trainer: Trainer | None = None
        self.validated_at: list[int] = []
        self.deterministic = self.benchmark = self.anomaly = False

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validated_at.append(-1)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.trainer = trainer
        self.deterministic = torch.are_deterministic_algorithms_enabled()
        self.benchmark = torch.backends.cudnn.benchmark

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.anomaly = torch.is_anomaly_enabled()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validated_at.append(trainer.global_step)


@dataclass
class Tried:
    """A run with some options, and what was seen of it."""

    folder: Path
    watches: list[Watch] = field(default_factory=list)

    @property
    def seen(self) -> list[Watch]:
        """Those whose Trainer trained, in the stream's order."""
        return [watch for watch in self.watches if watch.trainer is not None]

    @property
    def trainers(self) -> list[Any]:
        """The Trainers that trained; not typed, since Lightning's types lack half of what they have."""
        return [watch.trainer for watch in self.seen]

    @cached_property
    def results(self) -> Results:
        return read_results(self.folder / "run" / "results.json")

    @property
    def epochs(self) -> list[int]:
        return [experience.epochs for experience in self.results.experiences]


runs: list[Tried] = []
Check = Callable[[Tried], object]


def all_have(name: str, value: object) -> Check:
    """Each Trainer has the attribute."""
    return lambda run: all(getattr(trainer, name) == value for trainer in run.trainers)


def has_callback(kind: type[Callback]) -> Check:
    """Each Trainer has one of its own."""
    return lambda run: len({id(c) for t in run.trainers for c in t.callbacks if isinstance(c, kind)}) == 2


# A run is given several options at once where they do not disturb each other. There are 29 training images for the
# base and 29 for the increment: two batches each.
STOPS_AT_ONCE = ("callbacks+=EarlyStopping", "callbacks.monitor=val/loss", "callbacks.stopping_threshold=100")
GIVEN: dict[str, tuple[str, ...]] = {
    "many": (
        "accelerator=cpu",
        "benchmark=true",
        "callbacks+=Timer",
        "detect_anomaly=true",
        "deterministic=true",
        "devices=1",
        "enable_autolog_hparams=false",
        "enable_model_summary=true",
        "enable_progress_bar=true",
        "gradient_clip_algorithm=value",
        "gradient_clip_val=0.1",
        "inference_mode=false",
        "limit_val_batches=1",
        "log_every_n_steps=1",
        "logger=CSVLogger",
        "logger.save_dir=csv_logger",
        "max_epochs=3",
        "num_nodes=1",
        "num_sanity_val_steps=1",
        "plugins=AsyncCheckpointIO",
        "profiler=simple",
        "strategy=ddp",
    ),
    "few": ("accumulate_grad_batches=2", "check_val_every_n_epoch=2", "max_epochs=4", "precision=bf16-mixed"),
    "least epochs": ("max_epochs=5", "min_epochs=3", *STOPS_AT_ONCE),
    "least steps": ("max_epochs=9", "min_steps=5", *STOPS_AT_ONCE),
    "steps": ("max_epochs=-1", "max_steps=3"),
    "time": ("max_epochs=1000", "max_time=00:00:00:01"),
    "batches": ("limit_train_batches=1", "sync_batchnorm=true"),
    "intervals": ("val_check_interval=1",),
}
# Option, the run that is given it, and what must then be true.
WORKS: dict[str, tuple[str, Check]] = {
    "accelerator": ("many", lambda run: run.results.environment.device == "cpu"),
    "accumulate_grad_batches": ("few", lambda run: [t.global_step for t in run.trainers] == [4, 4]),
    "benchmark": ("many", lambda run: all(w.benchmark for w in run.seen)),
    "callbacks": ("many", has_callback(Timer)),
    "check_val_every_n_epoch": ("few", lambda run: [w.validated_at for w in run.seen] == [[2, 4]] * 2),
    "default_root_dir": ("many", lambda run: {t.default_root_dir for t in run.trainers} == {str(run.folder / "run")}),
    "detect_anomaly": ("many", lambda run: all(w.anomaly for w in run.seen)),
    "deterministic": ("many", lambda run: all(w.deterministic for w in run.seen)),
    "devices": ("many", lambda run: run.results.environment.devices == 1),
    "enable_autolog_hparams": ("many", all_have("enable_autolog_hparams", False)),
    "enable_model_summary": ("many", has_callback(ModelSummary)),
    "enable_progress_bar": ("many", lambda run: not any(isinstance(c, ProgressBar) for c in run.trainers[0].callbacks)),
    "gradient_clip_algorithm": ("many", all_have("gradient_clip_algorithm", "value")),
    "gradient_clip_val": ("many", all_have("gradient_clip_val", 0.1)),
    "inference_mode": ("many", lambda run: not any(t.validate_loop.inference_mode for t in run.trainers)),
    "limit_train_batches": ("batches", lambda run: [t.global_step for t in run.trainers] == [1, 1]),
    "limit_val_batches": ("many", all_have("num_val_batches", [1])),
    "log_every_n_steps": ("many", lambda run: (run.folder / "run/metrics.csv").read_text().count("\n") >= 12),
    "logger": (
        "many",
        lambda run: (
            [type(x).__name__ for t in run.trainers for x in t.loggers] == ["MetricsCSV", "CSVLogger"] * 2
            and run.trainers[0].loggers[1] is run.trainers[1].loggers[1]
        ),
    ),
    "max_epochs": ("many", lambda run: run.epochs == [3, 3]),
    "max_steps": (
        "steps",
        lambda run: (
            [t.global_step for t in run.trainers] == [3, 3]
            and not any(e.stopped_early for e in run.results.experiences)
        ),
    ),
    "max_time": ("time", lambda run: all(0 < epochs < 1000 for epochs in run.epochs)),  # of each stage
    "min_epochs": ("least epochs", lambda run: run.epochs == [3, 3]),
    "min_steps": ("least steps", lambda run: [t.global_step for t in run.trainers] == [5, 5]),
    "num_nodes": ("many", all_have("num_nodes", 1)),
    "num_sanity_val_steps": ("many", lambda run: [w.validated_at[0] for w in run.seen] == [-1, -1]),
    "plugins": ("many", lambda run: all(isinstance(t.strategy.checkpoint_io, AsyncCheckpointIO) for t in run.trainers)),
    "precision": ("few", lambda run: run.results.environment.precision == "bf16-mixed"),
    "profiler": ("many", lambda run: all(isinstance(t.profiler, SimpleProfiler) for t in run.trainers)),
    "strategy": ("many", lambda run: all(isinstance(t.strategy, DDPStrategy) for t in run.trainers)),
    "sync_batchnorm": ("batches", lambda run: run.results.run.complete),
    "val_check_interval": ("intervals", lambda run: [w.validated_at for w in run.seen] == [[1, 2]] * 2),
}
# Option, and a value that is refused.
REFUSED_VALUES: dict[str, str] = {
    "barebones": "true",
    "fast_dev_run": "true",
    "overfit_batches": "1",
    "enable_checkpointing": "false",
    "use_distributed_sampler": "true",
    "limit_test_batches": "1",
    "limit_predict_batches": "1",
    "reload_dataloaders_every_n_epochs": "1",
    "model_registry": "models",
}
OPTIONS = [name for name in inspect.signature(Trainer.__init__).parameters if name != "self"]


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tried]:
    """The run of each name, made when it is first asked for."""

    @cache
    def try_once(name: str) -> Tried:
        run = Tried(tmp_path_factory.mktemp(name))
        runs.append(run)
        given = [f"--trainer.{option}" for option in GIVEN[name]]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(run.folder)
            watched = ("--data.stream.experiences=2", "--trainer.callbacks=test_trainer_factory.Watch")
            assert start(run.folder, "run", *watched, *given) == 0
        return run

    return try_once


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_of_the_trainer_works_or_is_refused(
    option: str, tried: Callable[[str], Tried], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if option in REFUSED_VALUES:
        assert start(tmp_path, "run", f"--trainer.{option}={REFUSED_VALUES[option]}") == 2
        assert f"trainer.{option}=" in capsys.readouterr().err
        assert not (tmp_path / "run").exists()
        return
    assert option in WORKS, f"Lightning has a new option, trainer.{option}: let it work or refuse it, and say so here"
    name, holds = WORKS[option]
    run = tried(name)
    assert run.results.run.complete
    assert len(run.trainers) == 2
    assert holds(run)


def test_what_is_refused_is_an_option() -> None:
    assert {key for key, *_ in REFUSED} == set(REFUSED_VALUES)
    assert set(OPTIONS) == set(REFUSED_VALUES) | set(WORKS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strategy": "ddp_spawn"}, "forked or spawned lose what was learned"),
        ({"strategy": {"class_path": "lightning.pytorch.strategies.FSDPStrategy"}}, "sharded weights"),
        (
            {"strategy": {"class_path": "lightning.pytorch.strategies.DDPStrategy", "init_args": {"start_method": "spawn"}}},
            "start_method",
        ),
        ({"precision": "16-true"}, "lose small updates"),
    ],
)  # fmt: skip
def test_strategies_and_precisions_that_lose_weights_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_trainer_options(options)


def test_a_trainer_is_new_each_time_except_for_the_loggers(tmp_path: Path) -> None:
    made: list[Callback] = []

    def build() -> dict[str, Any]:
        made.append(Callback())
        return {"accelerator": "cpu", "devices": 1, "callbacks": made[-1]}

    factory = TrainerFactory(build, tmp_path, [])
    first, second = (factory.training([], None, closed_form_passes=None, validates=True) for _ in range(2))
    kept = [trainer.callbacks for trainer in (first, second)]  # type: ignore[attr-defined]
    assert [each in kept[0] for each in made] == [True, False]
    assert [each in kept[1] for each in made] == [False, True]
    assert isinstance(first.strategy.checkpoint_io, AtomicCheckpoints)


def test_a_checkpoint_is_written_beside_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning writes it to the temporary folder and copies it over the old one if that is another disk."""
    path = tmp_path / "last.ckpt"
    AtomicCheckpoints().save_checkpoint({"lightning_vision": {}, "state_dict": {}}, path)
    before = path.read_bytes()

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        AtomicCheckpoints().save_checkpoint({"lightning_vision": {}, "state_dict": {"w": torch.zeros(9)}}, path)
    assert path.read_bytes() == before
    assert RunDirectory(tmp_path).all_finished() == []


def test_the_last_checkpoint_does_not_wait_for_a_better_epoch(tmp_path: Path) -> None:
    last = last_checkpoint(tmp_path / "experience=0001-stage=0-last.ckpt")
    assert (last.monitor, last.save_last, last._save_on_train_epoch_end) == (None, None, True)


def test_signals_are_left_alone_outside_of_a_run() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as signals:
        assert signal.getsignal(signal.SIGTERM) == signals._note
    assert signal.getsignal(signal.SIGTERM) == before
