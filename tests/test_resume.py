"""A run that is stopped in any way and resumed by the same command gives the results of an uninterrupted run."""

import csv
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from command_line import QUICK, fit, start, weights_of
from fork_server import DRAW, Forked, ForkServer
from interruptions import SHOWN, interrupt
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from lightning_vision.cli import main
from lightning_vision.errors import TrainingError
from lightning_vision.learning.checkpoints import read_checkpoint
from lightning_vision.learning.loaded_checkpoint import LoadedCheckpoint
from lightning_vision.learning.stage_checkpoints import StageCheckpoints
from lightning_vision.results.record import StreamRecord
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.schema import read_results, without_measurements
from lightning_vision.run import checkpoint_tasks, experience_commit
from lightning_vision.run.stream_run import StreamRun
from lightning_vision.storage import writer_lock

RESUME = "--ckpt_path=last"
# Dropout of three kinds, augmentation (a random flip), batch norm, an optimizer and a scheduler with a state.
COMMON = (
    "--data=coloured_squares.ColouredSquares",
    "--data.noise=90",
    "--data.batch_size=4",
    "--model.backbone=test_byobnet",
    "--model.drop_rate=0.2",
    "--model.drop_path_rate=0.1",
    "--model.head_dropout=0.2",
    "--trainer.max_epochs=3",
    "--trainer.log_every_n_steps=1",
    "--trainer.callbacks=interruptions.Interrupt",
)
PLATEAU = (
    "--model.lr_scheduler=lightning.pytorch.cli.ReduceLROnPlateau",
    "--model.lr_scheduler.monitor=train/loss",
    "--model.lr_scheduler.patience=0",
    "--model.lr_scheduler.threshold=0.5",  # nothing is ever better by half: the rate falls after every epoch but one
)
JOBS: dict[str, tuple[str, ...]] = {
    "fine_tune": (*COMMON, *PLATEAU, "--model.strategy=interruptions.Interrupted"),
    "early_stopping": (
        *COMMON,
        "--trainer.callbacks+=EarlyStopping",
        "--trainer.callbacks.monitor=train/loss",
        "--trainer.callbacks.min_delta=10",  # nothing is better by so much: it stops after the second epoch
        "--trainer.callbacks.patience=1",
        "--model.strategy=interruptions.Interrupted",
    ),
    "stages": (*COMMON, "--model.strategy=trial_strategies.HeadThenAll"),
    "head_only": (*COMMON, "--model.strategy=HeadOnly"),
    "closed_form": (*COMMON, "--model.strategy=MoveToData", "--model.strategy.epsilon=[0.001,0.1]", "--model.strategy.passes=2"),
    "base_data": (*COMMON, "--model.strategy=trial_strategies.ClassMeans"),
    # The lower layers are frozen, and batch norm and the average move in the upper ones; later checkpoints name their file.
    "last_block": (
        *COMMON,
        "--model.backbone=test_resnet",
        "--model.strategy=trial_strategies.LastBlock",
        "--trainer.callbacks+=lightning_vision.recipes.MovingAverage",
        "--trainer.callbacks.decay=0.5",
        "--keep_checkpoints=all",
    ),
    "max_steps": (*COMMON, "--trainer.max_steps=9", "--trainer.max_epochs=-1", "--trainer.accumulate_grad_batches=2"),
}  # fmt: skip


class Jobs:
    """Runs of the jobs: whole ones, made once, and others in real processes."""

    def __init__(self, forks: ForkServer, folder: Path) -> None:
        self.forks, self.folder = forks, folder
        self._whole: dict[str, Path] = {}

    def whole(self, job: str) -> Path:
        """The run directory of a run that was never interrupted."""
        if job not in self._whole:
            log = self.folder / f"{job}.log"
            done = self.start(job, "whole", log, **{SHOWN: str(self.folder / f"{job}.shown")})
            assert done.wait() == 0, log.read_text()
            self._whole[job] = self.folder / job / "whole"
        return self._whole[job]

    def start(self, job: str, name: str, log: Path, *options: str, **environment: str) -> Forked:
        """One process for one run directory."""
        place = (f"--trainer.default_root_dir={self.folder / job}", f"--run_name={name}")
        return self.forks.start(["fit", *QUICK, *JOBS[job], *place, *options], log, **environment)

    def interrupted(self, job: str, *points: str, by: int = signal.SIGKILL) -> Path:
        """A run directory whose run was interrupted at each point, then ended; always by the same command."""
        name = f"interrupted-{abs(hash((job, points, by))):x}"
        folder = self.folder / job / name
        log, environment = folder.with_suffix(".log"), {SHOWN: str(folder.with_suffix(".shown"))}
        folder.parent.mkdir(exist_ok=True)
        for point in points:
            code = self.start(job, name, log, RESUME, **environment, **interrupt(point, by)).wait()
            assert code == (-by if by == signal.SIGKILL else 128 + by), (point, code, log.read_text())
        assert self.start(job, name, log, RESUME, **environment).wait() == 0, log.read_text()
        return folder


@pytest.fixture(scope="module")
def jobs(forks: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Jobs:
    return Jobs(forks, tmp_path_factory.mktemp("jobs"))


def figures(run: Path) -> dict[str, Any]:
    """results.json without what is measured anew and without the run's name."""
    found = without_measurements(read_results(run / "results.json"))
    found["run"].pop("name")
    return found


def rows(run: Path) -> list[dict[str, str]]:
    """metrics.csv without time and energy."""
    with (run / "metrics.csv").open() as file:
        found = list(csv.DictReader(file))
    measured = [key for key in found[0] if key.startswith("energy/") or key.endswith("seconds")]
    return [{key: cell for key, cell in row.items() if key not in measured} for row in found]


def check_equal(run: Path, whole: Path) -> None:
    """Everything that two runs leave behind is equal: figures, predictions, weights, strategy state, curves."""
    assert figures(run) == figures(whole)
    with np.load(run / "predictions.npz") as one, np.load(whole / "predictions.npz") as other:
        assert set(one.files) == set(other.files)
        assert all(np.array_equal(one[key], other[key]) for key in one.files)
    mine, others = weights_of(run), weights_of(whole)
    assert mine.keys() == others.keys()
    assert [key for key in mine if not torch.equal(mine[key], others[key])] == []
    assert rows(run) == rows(whole)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == sorted(
        path.name for path in (whole / "checkpoints").iterdir()
    )


def shown(path: Path) -> list[Any]:
    """Experience, stage, epoch, batch and images of each batch that was trained, in that order."""
    return [json.loads(line) for line in Path(f"{path}.0").read_text().splitlines()]


# ---- killed at chosen points ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "points"),
    [
        # Before any checkpoint; in an epoch after one; once all epochs are trained; in an evaluation.
        ("fine_tune", ("0::0:2", "1::2:1", "after:1", "evaluation:1", "evaluation:2")),
        ("early_stopping", ("after:0", "1::1:1", "after:1")),
        ("stages", ("1:head:1:0", "1:all:0:1", "1:all:2:1", "2:head:0:0")),
        ("head_only", ("1::0:2", "1::2:1", "2::1:1")),
        ("last_block", ("0::1:2", "1::0:1", "1::1:1", "2::2:0")),
        ("closed_form", ("0::1:1", "1::1:0", "2::0:1")),
        ("base_data", ("0::2:2", "0:base data:0:2", "1::0:1")),
        ("max_steps", ("0::1:1", "1::2:1")),
    ],
)
def test_a_run_that_was_killed_resumes_to_the_same_end(jobs: Jobs, job: str, points: tuple[str, ...]) -> None:
    check_equal(jobs.interrupted(job, *points), jobs.whole(job))


def test_early_stopping_was_part_of_the_job(jobs: Jobs) -> None:
    experiences = read_results(jobs.whole("early_stopping") / "results.json").experiences
    assert [(e.epochs, e.stopped_early) for e in experiences] == [(2, True)] * 3


# ---- stopped by a signal -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "points"),
    [
        ("fine_tune", ("0::0:2", "0::1:0", "1::2:1", "evaluation:1")),
        ("stages", ("0::1:3", "1:head:0:0", "1:all:1:1")),
        ("head_only", ("0::1:2", "1::0:1", "1::2:0")),  # an epoch's start, which is not repeated, stills batch norm
        ("last_block", ("1::0:1", "2::1:2")),
        ("closed_form", ("1::0:1", "1::1:0")),
        ("base_data", ("0:base data:0:2", "1::0:0")),
        ("max_steps", ("0::0:1", "1::1:1")),
    ],
)
def test_sigterm_writes_a_checkpoint_that_resumes_with_the_images_not_yet_shown(
    jobs: Jobs, job: str, points: tuple[str, ...]
) -> None:
    run, whole = jobs.interrupted(job, *points, by=signal.SIGTERM), jobs.whole(job)
    check_equal(run, whole)
    assert shown(run.with_suffix(".shown")) == shown(jobs.folder / f"{job}.shown")
    log = run.with_suffix(".log").read_text()
    assert log.count("Stopped by SIGTERM. Progress is saved") == len(points)
    assert "not resumable" not in log


def test_ctrl_c_is_130_and_loses_nothing(jobs: Jobs) -> None:
    check_equal(jobs.interrupted("fine_tune", "1::1:0", by=signal.SIGINT), jobs.whole("fine_tune"))


def test_slurms_warning_is_138_and_lightnings_own_requeue_stays_out_of_it(jobs: Jobs) -> None:
    # Lightning would load a leftover hpc_ckpt_* into every fresh Trainer, and on SIGUSR1 write one and requeue.
    slurm = {
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": "1",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "localhost",
    }
    whole = jobs.whole("fine_tune")
    leftover = whole.parent / "hpc_ckpt_1.ckpt"
    shutil.copy(whole / "checkpoints" / "experience=0002.ckpt", leftover)
    log = whole.parent / "slurm.log"
    try:
        stop = interrupt("1::1:1", signal.SIGUSR1)
        assert jobs.start("fine_tune", "slurm", log, RESUME, **slurm, **stop).wait() == 138, log.read_text()
        assert [p.name for p in (whole.parent / "slurm" / "checkpoints").glob("*last*")] == [
            "experience=0001-stage=0-last.ckpt"
        ]
        assert jobs.start("fine_tune", "slurm", log, RESUME, **slurm).wait() == 0, log.read_text()
    finally:
        leftover.unlink()
    check_equal(whole.parent / "slurm", whole)
    assert list(whole.parent.rglob("hpc_ckpt*")) == []


# ---- killed at random moments --------------------------------------------------------------------------------------


def test_killed_at_random_moments(jobs: Jobs) -> None:
    seed = random.SystemRandom().randrange(10**6)
    chance, whole = random.Random(seed), jobs.whole("fine_tune")
    moments: list[float] = []
    log = whole.parent / "random.log"
    learning = read_results(whole / "results.json").totals.seconds
    while len(moments) < 3:
        process = jobs.start("fine_tune", "random", log, RESUME, **{DRAW: "1"})
        moments.append(chance.uniform(0.5, 1.0 + learning / 2))
        time.sleep(moments[-1])
        if process.poll() is None:
            process.kill()
        assert process.wait() in (0, -signal.SIGKILL), (seed, moments, log.read_text())
    assert jobs.start("fine_tune", "random", log, RESUME, **{DRAW: "1"}).wait() == 0, (seed, moments, log.read_text())
    check_equal(whole.parent / "random", whole)


# ---- stopped in the middle of keeping what was found ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (experience_commit, "save_checkpoint"),
        (StreamRecord, "save_predictions"),
        (experience_commit, "write_results"),
        (RunDirectory, "drop_within"),
        (StreamRun, "draw_figures"),
    ],
)
def test_stopped_between_the_parts_of_an_experiences_end(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, place: Any, name: str
) -> None:
    whole = jobs.whole("closed_form")  # its predictions.npz gets further arrays with experience 1
    command = (f"stopped-{name}", *JOBS["closed_form"], RESUME)
    part, calls = getattr(place, name), []

    def fails_once(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == (1 if name == "draw_figures" else 2):
            raise TrainingError("stopped here")
        return part(*args)

    monkeypatch.setattr(place, name, fails_once)
    assert start(whole.parent, *command) == 1
    check_equal(fit(whole.parent, *command), whole)


def test_killed_just_after_the_checkpoint_of_an_epoch(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The epoch is not trained again, so its metrics must be in the loggers already."""
    whole = jobs.whole("fine_tune")
    command = ("stopped-epoch", *JOBS["fine_tune"], RESUME)
    save, epochs = StageCheckpoints.save_checkpoint, []

    def stops_at_the_end_of_the_second(self: StageCheckpoints, checkpoint: Any, path: Any, **how: Any) -> None:
        save(self, checkpoint, path, **how)
        if Path(path).stem.endswith("-last"):
            epochs.append(path)
            if len(epochs) == 2:
                raise TrainingError("stopped here")

    monkeypatch.setattr(StageCheckpoints, "save_checkpoint", stops_at_the_end_of_the_second)
    assert start(whole.parent, *command) == 1
    check_equal(fit(whole.parent, *command), whole)


# ---- the words around it -------------------------------------------------------------------------------------------


def test_the_same_command_starts_resumes_and_does_nothing_on_a_complete_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fit(tmp_path, "run", RESUME)
    assert f"Nothing saved in {run} yet: starting from the beginning." in capsys.readouterr().out
    before = (run / "results.json").stat().st_mtime_ns
    assert start(tmp_path, "run", RESUME) == 0
    assert f"The run {run} is complete; nothing to do." in capsys.readouterr().out
    assert (run / "results.json").stat().st_mtime_ns == before
    assert start(tmp_path, "run") == 2
    assert "--ckpt_path last" in capsys.readouterr().err
    assert (
        start(tmp_path, "run", RESUME, "--data.batch_size=8", "--model.head_dropout=0.5", "--data.num_workers=1") == 1
    )
    said = capsys.readouterr().err
    assert "data.init_args.batch_size: 16 then, 8 now" in said
    assert "model.head_dropout: 0.0 then, 0.5 now" in said
    assert "num_workers" not in said
    assert start(tmp_path, "run", "--ckpt_path=elsewhere.ckpt") == 2
    assert "expected 'last'" in capsys.readouterr().err


def test_a_second_writer_is_refused_until_the_first_is_killed(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first stands still in experience 1."""
    monkeypatch.setattr(writer_lock, "WAIT_SECONDS", 0.2)
    whole = jobs.whole("head_only")
    run = whole.parent / "held"
    first = jobs.start("head_only", "held", run.with_suffix(".log"), **interrupt("1::0:0", signal.SIGSTOP))
    until = time.monotonic() + 60
    while not stands_still(first.pid) and time.monotonic() < until:
        time.sleep(0.05)
    before = (run / "results.json").read_bytes()
    again = ["fit", *QUICK, *JOBS["head_only"], f"--trainer.default_root_dir={run.parent}", "--run_name=held"]
    try:
        for command in ([*again, RESUME], [*again, "--overwrite"], ["test", "--ckpt_path", str(run), "--trust_run"]):
            assert main(command) == 2
            said = capsys.readouterr().err
            assert f"Process {first.pid} on" in said and "(lightning-vision fit" in said, said
    finally:
        first.kill()
    assert first.wait() == -signal.SIGKILL
    assert (run / "results.json").read_bytes() == before
    began = time.monotonic()
    with RunDirectory(run).held("the next"):
        assert time.monotonic() - began < 0.1
    assert jobs.start("head_only", "held", run.with_suffix(".log"), RESUME).wait() == 0
    check_equal(run, whole)
    assert not (run / ".lock").exists()


def stands_still(pid: int) -> bool:
    """Whether a process was stopped by a signal."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_moved_run_resumes_with_its_best_weights_and_another_number_of_workers(jobs: Jobs) -> None:
    whole = jobs.whole("head_only")
    accuracy = [float(row["val/accuracy"]) for row in rows(whole) if row["val/accuracy"]]
    assert accuracy[3:6].index(max(accuracy[3:6])) < 2, "expected experience 1 to be best before its last epoch"
    folder = whole.parent
    log = folder / "moved.log"
    stopped = jobs.start("head_only", "moved", log, RESUME, **interrupt("1::2:0", signal.SIGTERM))
    assert stopped.wait() == 143, log.read_text()
    (folder / "elsewhere").mkdir()
    (folder / "moved").rename(folder / "elsewhere" / "renamed")
    place = (f"--trainer.default_root_dir={folder / 'elsewhere'}", "--run_name=renamed", "--data.num_workers=1")
    assert jobs.start("head_only", "", log, RESUME, *place).wait() == 0, log.read_text()
    moved, others = figures(folder / "elsewhere" / "renamed"), figures(whole)
    assert moved["run"]["data"]["init_args"].pop("num_workers") == 1
    assert others["run"]["data"]["init_args"].pop("num_workers") == 0
    assert moved == others
    mine = weights_of(folder / "elsewhere" / "renamed")
    assert all(torch.equal(mine[key], value) for key, value in weights_of(whole).items())


def test_a_checkpoints_options_do_not_go_over_those_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Lightning's _parse_ckpt_path would silently set drop_rate back to 0.
    run = fit(tmp_path, "run")
    rates, evaluate = [], checkpoint_tasks.test

    def seen(found: LoadedCheckpoint) -> checkpoint_tasks.Tested:
        rates.append(found.model.hparams["drop_rate"])
        return evaluate(found)

    monkeypatch.setattr(checkpoint_tasks, "test", seen)
    options = [option for option in QUICK if not option.startswith("--keep")]
    assert main(["test", *options, f"--ckpt_path={run}", "--model.drop_rate=0.5"]) == 0
    assert rates == [0.5]


# ---- a fresh Trainer an experience ---------------------------------------------------------------------------------


class Witness(Callback):
    """Writes down with what an experience begins, and what the last checkpoint says between its epochs."""

    beginnings: ClassVar[list[tuple[float, int, object]]] = []
    epochs_kept: ClassVar[list[int]] = []
    resources: ClassVar[list[tuple[int, int, int]]] = []
    in_group: ClassVar[list[bool]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        stopping = next(c for c in trainer.callbacks if isinstance(c, EarlyStopping))  # type: ignore[attr-defined]
        best = next(c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor)
        self.beginnings.append((float(stopping.best_score), stopping.wait_count, best.best_model_score))
        self.in_group.append(torch.distributed.is_initialized())
        hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in pl_module.modules())
        hooks += sum(len(p._backward_hooks or ()) for p in pl_module.parameters())
        self.resources.append((len(os.listdir("/proc/self/fd")), threading.active_count(), hooks))  # noqa: PTH208

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        last = next(c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and not c.monitor)
        if trainer.current_epoch:
            self.epochs_kept.append(read_checkpoint(last.best_model_path)["epoch"] + 1 - trainer.current_epoch)


@pytest.fixture
def witness() -> type[Witness]:
    for noted in (Witness.beginnings, Witness.epochs_kept, Witness.resources, Witness.in_group):
        noted.clear()
    return Witness


WATCHED = (
    "--trainer.callbacks=test_resume.Witness",
    "--trainer.callbacks+=EarlyStopping",
    "--trainer.callbacks.monitor=val/accuracy",
    "--trainer.callbacks.mode=max",
    "--trainer.callbacks.patience=10",
)


def test_each_experience_is_trained_and_compared_with_itself_alone(witness: type[Witness], tmp_path: Path) -> None:
    # One Trainer for all: the second fit trains 0 batches, or stops because it is no better than the first.
    # One process of DDP: the process group is made, and must be gone at the end.
    still = ("--model.optimizer=SGD", "--model.optimizer.lr=0")
    run = fit(
        tmp_path, "run", *WATCHED, *still, "--trainer.max_epochs=3", "--trainer.strategy=ddp", "--keep_checkpoints=all"
    )
    experiences = read_results(run / "results.json").experiences
    assert [e.epochs for e in experiences] == [3, 3, 3]
    assert witness.beginnings == [(-math.inf, 0, None)] * 3
    # save_last would have kept the first epoch: with a rate of 0 validation never improves.
    assert witness.epochs_kept == [0] * 6
    assert witness.in_group == [True] * 3
    assert not torch.distributed.is_initialized()


def test_training_losses_are_of_their_own_epoch(tmp_path: Path) -> None:
    # The best weights are kept before the epoch's sums are set back, and gone back to after the last epoch.
    run = fit(tmp_path, "run", "--trainer.max_epochs=2", "--trainer.log_every_n_steps=1", "--data.batch_size=8")
    for experience in ("0.0", "1.0", "2.0"):
        of = [row for row in rows(run) if row["stream/experience"] == experience]
        steps = [float(row["train/loss_step"]) for row in of if row["train/loss_step"]]
        mean = next(float(row["train/loss"]) for row in of if row["train/loss"])
        epoch = steps[: len(steps) // 2]
        assert min(epoch) <= mean <= max(epoch)


def test_a_long_stream_leaves_nothing_open(witness: type[Witness], tmp_path: Path) -> None:
    fit(
        tmp_path, "run", *WATCHED, "--data.stream.experiences=30", "--data.per_class=120", "--data.val_fraction=0.3",
        "--data.batch_size=64", "--wandb.mode=offline", "--energy.enabled=true",
    )  # fmt: skip
    assert len(witness.resources) == 30
    # A timer of a library may start or end just then: what is left open would add up over ten experiences.
    early, late = (np.max(witness.resources[part], axis=0) for part in (slice(2, 12), slice(20, 30)))
    assert (late <= early).all(), witness.resources


# ---- the page about it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "end", "requeued"), [(138, 0, ["requeue 7"]), (0, 0, []), (143, 143, []), (1, 1, [])])
def test_the_batch_file_of_the_docs_requeues_a_job_whose_time_is_up(
    tmp_path: Path, code: int, end: int, requeued: list[str]
) -> None:
    page = (Path(__file__).parents[1] / "docs" / "resume_and_slurm.md").read_text()
    batch = re.findall(r"^```sh\n(#!/bin/bash\n.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)[0]
    (tmp_path / "train.sbatch").write_text(batch)
    for name, does in (("srun", f'echo "$@" >> srun.log; exit {code}'), ("scontrol", 'echo "$@" >> scontrol.log')):
        (tmp_path / name).write_text(f"#!/bin/bash\n{does}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    assert subprocess.run(["bash", "train.sbatch"], cwd=tmp_path, env=environment, check=False).returncode == end
    log = tmp_path / "scontrol.log"
    assert (log.read_text().splitlines() if log.exists() else []) == requeued
    srun = (tmp_path / "srun.log").read_text().split()
    assert srun[-2:] == ["--ckpt_path", "last"]
    # The configs that it names are there.
    words = srun[srun.index("fit") + 1 :]
    assert all((Path(__file__).parents[1] / word).is_file() for word in words if word.startswith("configs/"))
