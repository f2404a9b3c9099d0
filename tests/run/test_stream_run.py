"""Two runs in one process: the second finds it as the first did, and so does whoever comes after both."""

import gc
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from coloured_squares import ColouredSquares
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger
from torch import nn

from lightning_vision.data.scenarios import InstanceIncremental
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.stop_signals import StopRequestedError, StopSignals
from lightning_vision.learning.strategy import Strategy
from lightning_vision.learning.trainer_factory import TrainerFactory
from lightning_vision.learning.trainer_options import TRAINER_DEFAULTS
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.schema import Results
from lightning_vision.run.process_state import process_state_restored
from lightning_vision.run.stream_run import RunOptions, StreamRun
from lightning_vision.tracking.energy import EnergyMeter
from lightning_vision.tracking.metrics_csv import MetricsCSV
from lightning_vision.tracking.progress import StreamProgress
from strategies import FullFineTune, MoveToData

HOOKS = [name for name in vars(nn.Module()) if name.endswith("_hooks")]


class Job:
    """One run with parts of its own, as whoever calls it from Python has them."""

    def __init__(self, folder: Path, strategy: Strategy, **options: Any) -> None:
        self.data = ColouredSquares(
            per_class=8, batch_size=8, stream=InstanceIncremental(experiences=2), cache_dir=folder
        )
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Attribute 'strategy' is an instance of")
            self.model = ContinualClassifier(
                backbone="test_resnet",
                pretrained=False,
                strategy=strategy,
                class_names=self.data.class_names,
                image_size=16,
            )
        self.directory = RunDirectory(folder / "run")
        self.directory.prepare(resume=bool(options.get("resume")), overwrite=False)
        self.loggers: list[Logger] = [MetricsCSV(self.directory.path)]
        trainer = {
            **TRAINER_DEFAULTS,
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 1,
            **options.pop("trainer", {}),
        }
        self.signals = StopSignals()
        self.meter = EnergyMeter(self.directory.path, enabled=False)
        self.progress = StreamProgress(enabled=False)
        self.run = StreamRun(
            self.model,
            self.data,
            TrainerFactory(lambda: dict(trainer), self.directory.path, self.loggers),
            self.directory,
            self.meter,
            self.signals,
            self.progress,
            RunOptions(name="run", **options),
        )

    def fit(self) -> Results:
        try:
            with self.signals, self.meter:
                self.run.prepare()
                self.run.fit()
                self.run.draw_figures()
                return self.run.finish()
        finally:
            self.progress.close()
            self.run.close()


def counted() -> dict[str, Any]:
    """What a process has that a run may leave behind."""
    gc.collect()
    files = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        # /proc is what is being looked at; matplotlib keeps the fonts that it has drawn with open, once for the process.
        "files": sorted(path for path in files if path[0] == "/" and path[:6] != "/proc/" and path[-4:] != ".ttf"),
        "handlers": [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
        "environment": dict(os.environ),
        "filters": list(warnings.filters),
        "frozen": gc.get_freeze_count(),
        "group": torch.distributed.is_initialized(),
        "hooks": global_hooks(),
    }


def global_hooks() -> int:
    from torch.nn.modules import module

    return sum(len(hooks) for name, hooks in vars(module).items() if name.startswith("_global_") and name.endswith("hooks"))  # fmt: skip


def hooks_of(model: nn.Module) -> dict[str, int]:
    """The hooks on all parts of a model, by kind, except those that its class registers itself."""
    return {name: sum(len(getattr(part, name)) for part in model.modules()) for name in HOOKS}


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with process_state_restored():
        yield


@pytest.mark.parametrize("strategy", [FullFineTune, lambda: MoveToData([0.01, 0.1])])
def test_two_runs_leave_nothing_behind(strategy: Callable[[], Strategy], tmp_path: Path) -> None:
    found = []
    for number in range(2):
        before = counted()
        with process_state_restored():
            folder = tmp_path / str(number)
            folder.mkdir()
            job = Job(folder, strategy())
            hooks = hooks_of(job.model)
            assert job.fit().run.complete
            assert hooks_of(job.model) == hooks
            assert "log_metrics" not in vars(job.loggers[0]), "the logger counts its own steps again"
        assert counted() == before, number
        found.append(job.model.state_dict())
    first, second = found
    assert all(torch.equal(first[key], second[key]) for key in first), "nothing of the first went into the second"


def test_a_run_that_is_stopped_leaves_nothing_behind_and_resumes(tmp_path: Path) -> None:
    """Ctrl-C while the first experience is trained; then the same run in the same process."""
    before = counted()
    job = Job(tmp_path, FullFineTune())
    begin_stage = job.model.begin_stage

    def interrupted(*args: Any) -> list[nn.Parameter]:
        os.kill(os.getpid(), signal.SIGINT)
        return begin_stage(*args)

    job.model.begin_stage = interrupted  # type: ignore[assignment,method-assign]
    with process_state_restored(), pytest.raises(StopRequestedError):
        job.fit()
    assert counted() == before
    with process_state_restored():
        assert Job(tmp_path, FullFineTune(), resume=True).fit().run.complete
    assert counted() == before


def test_what_the_caller_keeps_from_the_garbage_collector_stays_so(tmp_path: Path) -> None:
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        Job(tmp_path, FullFineTune()).fit()
        assert gc.get_freeze_count() > frozen / 2  # some of it was let go since
    finally:
        gc.unfreeze()


def test_a_process_group_of_the_callers_stays(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        assert Job(tmp_path, MoveToData(0.1)).fit().run.complete
        assert torch.distributed.is_initialized()
    finally:
        torch.distributed.destroy_process_group()


def test_deterministic_algorithms_are_the_runs_own(tmp_path: Path) -> None:
    with process_state_restored():
        Job(tmp_path, FullFineTune(), trainer={"deterministic": "warn"}).fit()
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()


def test_new_memory_is_not_filled_with_nan(tmp_path: Path) -> None:
    """torch does so with trainer.deterministic, which costs time; afterwards it is as the caller has set it."""
    settings: Any = torch.utils.deterministic
    seen: list[bool] = []

    class Look(Callback):
        def on_train_batch_start(self, *args: object) -> None:
            seen.append(settings.fill_uninitialized_memory)

    with process_state_restored():
        Job(tmp_path, FullFineTune(), trainer={"deterministic": "warn", "callbacks": [Look()]}).fit()
    assert seen and not any(seen)
    assert settings.fill_uninitialized_memory
