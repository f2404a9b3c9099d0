import importlib.metadata
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pandas as pd
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from pydantic import BaseModel
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from wandb_offline import offline_runs, read_offline_run

from lightning_vision.errors import ConfigError
from lightning_vision.tracking.loggers import close_loggers, log_experience
from lightning_vision.tracking.metrics_csv import MetricsCSV
from lightning_vision.tracking.stream_position import StreamPosition, follow_stream, leave_stream
from lightning_vision.tracking.wandb_logger import StreamWandbLogger, make_wandb_logger, mask_secrets, written_at_once

ROOT = Path(__file__).parents[2]
FAKE_KEY = "a" * 40


@pytest.fixture(autouse=True)
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variable of W&B and no login of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    yield
    wandb = sys.modules.get("wandb")
    if wandb is not None:
        wandb.teardown()


class TinyModule(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        loss: Tensor = self.layer(batch[0]).square().mean()
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        self.log("val/accuracy", self.layer(batch[0]).mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def train(loggers: list[Logger], directory: Path, position: StreamPosition, experiences: int) -> None:
    """A fresh Trainer for each experience, as the run has it: 2 epochs of 4 steps."""
    loader = DataLoader(TensorDataset(torch.randn(8, 2)), batch_size=2)
    module = TinyModule()
    for experience in range(experiences):
        position.experience = experience
        trainer = pl.Trainer(
            max_epochs=2,
            accelerator="cpu",
            logger=loggers,
            log_every_n_steps=2,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            default_root_dir=directory,
        )
        trainer.fit(module, loader, loader)
        position.step_offset += trainer.global_step


class Recorder(MetricsCSV):
    """What any other logger would be handed."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.calls: list[tuple[dict[str, Any], int | None]] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.calls.append((dict(metrics), step))


# --- metrics.csv


def test_calls_of_one_step_make_one_row(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path / "run")
    position = StreamPosition(experience=1, step_offset=10)
    follow_stream(logger, position)
    logger.log_metrics({"train/loss": 0.5}, 0)
    logger.log_metrics({"val/accuracy": torch.tensor(0.25)}, 0)
    logger.log_metrics({"train/loss": 0.25}, 1)
    position.experience = 2
    logger.log_metrics({"train/loss": 0.125}, 1)
    table = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert table["step"].tolist() == table["stream/step"].tolist() == [10, 11, 11]
    assert table["stream/experience"].tolist() == [1, 1, 2]
    assert table["train/loss"].tolist() == [0.5, 0.25, 0.125]
    assert table.loc[0, "val/accuracy"] == 0.25


def test_an_old_file_is_continued_where_the_checkpoint_was(tmp_path: Path) -> None:
    first = MetricsCSV(tmp_path)
    for step in range(6):
        first.log_metrics({"stream/experience": 0.0, "train/loss": step / 8}, step)
    second = MetricsCSV(tmp_path)
    assert len(pd.read_csv(tmp_path / "metrics.csv")) == 6
    second.resume_at(3)
    second.log_metrics({"stream/experience": 0.0, "val/accuracy": 0.5}, 3)
    second.log_metrics({"stream/experience": 0.0, "train/loss": 0.75}, 4)
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert table["step"].tolist() == [0, 1, 2, 3, 4]
    assert table["train/loss"].tolist() == [0.0, 0.125, 0.25, 0.375, 0.75]
    assert table.loc[3, "val/accuracy"] == 0.5


def test_resuming_without_a_file_is_a_start(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    logger.resume_at(7)
    assert list(tmp_path.iterdir()) == []


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    loggers: list[Logger] = [MetricsCSV(tmp_path), make_wandb_logger(tmp_path, "run")]
    log_experience(loggers, StreamPosition(), {"test/accuracy": 0.5})
    for logger in loggers:
        logger.log_metrics({"train/loss": 0.5}, 0)
        logger.log_hyperparams({"lr": 0.1})
    close_loggers(loggers)
    assert list(tmp_path.iterdir()) == []


# --- the stream's steps


def test_steps_never_run_backwards_over_trainers(tmp_path: Path) -> None:
    position = StreamPosition()
    own, recorder, lightnings = MetricsCSV(tmp_path), Recorder(tmp_path), CSVLogger(tmp_path, name="stock")
    loggers: list[Logger] = [own, recorder, lightnings]
    for logger in loggers:
        follow_stream(logger, position)
        follow_stream(logger, position)  # does not add the offset twice
    train(loggers, tmp_path, position, experiences=3)
    lightnings.save()
    assert position == StreamPosition(experience=2, step_offset=24)

    steps = [step for _, step in recorder.calls]
    assert all(step is not None for step in steps)
    assert steps == sorted(steps)  # type: ignore[type-var]
    assert [metrics["stream/step"] for metrics, _ in recorder.calls] == steps
    assert sorted({metrics["stream/experience"] for metrics, _ in recorder.calls}) == [0.0, 1.0, 2.0]

    for table in (pd.read_csv(tmp_path / "metrics.csv"), pd.read_csv(Path(lightnings.log_dir) / "metrics.csv")):
        assert table["step"].is_monotonic_increasing
        assert table["step"].max() in (23, 24)
        for experience in range(3):
            part = table[table["stream/experience"] == experience]
            assert part["step"].between(8 * experience, 8 * experience + 8).all()
            assert part["val/accuracy"].count() == 2  # epochs
            assert part["train/loss_epoch"].count() == 2
            assert part["train/loss_step"].count() == 4  # 8 steps, every second
    rows = pd.read_csv(tmp_path / "metrics.csv")
    assert not rows.duplicated(["step", "stream/experience"]).any()


def test_a_step_that_is_none_is_the_last_one(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    position = StreamPosition(0, 5)
    follow_stream(recorder, position)
    for step in (None, 3, 1, None):
        recorder.log_metrics({"x": 1.0}, step)
    follow_stream(recorder, StreamPosition(1, 20))
    recorder.log_metrics({"x": 1.0}, 0)
    assert [step for _, step in recorder.calls] == [5, 8, 8, 8, 20]


def test_a_logger_that_leaves_the_stream_counts_its_own_steps_again(tmp_path: Path) -> None:
    recorder, replaced, calls = Recorder(tmp_path), Recorder(tmp_path), []
    replaced.log_metrics = lambda metrics, step=None: calls.append(step)  # type: ignore[method-assign]
    for logger in (recorder, replaced):
        leave_stream(logger)  # it follows none yet
        follow_stream(logger, StreamPosition(0, 5))
        leave_stream(logger)
        logger.log_metrics({"x": 1.0}, 2)
    assert recorder.calls == [({"x": 1.0}, 2)] and calls == [2]


# --- W&B


def test_rows_are_written_within_a_second_by_versions_that_can() -> None:
    """W&B refuses settings that it does not know, and this one came with 0.31."""

    class Earlier(BaseModel):
        init_timeout: float

    class Later(Earlier):
        x_transaction_log_flush_interval: float = 15.0

    assert written_at_once(Earlier) == {}
    assert written_at_once(Later) == {"x_transaction_log_flush_interval": 1.0}


def test_a_run_read_back_from_its_offline_file(tmp_path: Path) -> None:
    image, matrix = tmp_path / "heatmap.png", tmp_path / "matrix.csv"
    Image.new("RGB", (32, 24), "navy").save(image)
    matrix.write_text("1,0\n0,1\n")
    run = tmp_path / "run"
    loggers: list[Logger] = [
        make_wandb_logger(
            run,
            "MoveToData-seed0",
            group="comparison",
            job_type="MoveToData",
            config={"model": {"epsilon": [1e-3], "root": Path("data")}, "wandb_api_key": FAKE_KEY},
        ),
        MetricsCSV(run),
    ]
    position = StreamPosition()
    for logger in loggers:
        follow_stream(logger, position)
    for experience in range(2):
        position.experience = experience
        for step in range(3):
            for logger in loggers:
                logger.log_metrics({"train/loss": 1.0 / (1 + step), "epoch": 0.0}, step)
        position.step_offset += 3
        log_experience(
            loggers,
            position,
            {"test/accuracy": 0.5 + experience / 4, "stream/forgetting": None, "energy/kwh": 1e-6},
            {"confusion/heatmap": image},
            {"confusion/top": pd.DataFrame({"true": ["cat"], "predicted": ["dog"], "count": [3]})},
            {"confusion/matrix": matrix},
        )
    for rate in (0.5, 0.5):  # each Trainer of a run logs them
        loggers[0].log_hyperparams({"lr": rate, "token": "hidden"})
    close_loggers(loggers)

    assert len(offline_runs(run)) == 1
    found = read_offline_run(run)
    assert (found.name, found.group, found.job_type) == ("MoveToData-seed0", "comparison", "MoveToData")
    assert found.config["model"] == {"epsilon": [1e-3], "root": "data"}
    assert (found.config["wandb_api_key"], found.config["lr"], found.config["token"]) == ("***", 0.5, "***")
    rows = found.history
    assert [row["stream/step"] for row in rows] == [0, 1, 2, 3, 3, 4, 5, 6]
    assert [row["stream/experience"] for row in rows] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert [row["train/loss"] for row in rows if "train/loss" in row] == [1.0, 0.5, 1 / 3] * 2
    last = rows[-1]
    assert (last["test/accuracy"], last["energy/kwh"]) == (0.75, 1e-6)
    assert "stream/forgetting" not in last and "trainer/global_step" not in last
    assert last["confusion/heatmap"]["_type"] == "image-file"
    assert (found.directory / "files" / last["confusion/heatmap"]["path"]).read_bytes() == image.read_bytes()
    assert last["confusion/top"]["_type"] == "table-file" and last["confusion/top"]["nrows"] == 1
    assert last["confusion/heatmap"]["path"] in found.files
    assert found.summary["test/accuracy"] == 0.75
    assert found.artifacts["MoveToData-seed0-confusion-matrix"] == ["matrix.csv"]
    for name in ("test/accuracy", "energy/kwh", "confusion/heatmap", "confusion/top"):
        assert found.axes[name] == "stream/experience"
    for name in ("train/loss", "epoch"):
        assert found.axes[name] == "stream/step"
    assert not any("*" in name for name in found.axes)
    whole = b"".join(path.read_bytes() for path in run.rglob("*") if path.is_file() and not path.is_symlink())
    assert FAKE_KEY.encode() not in whole

    table = pd.read_csv(run / "metrics.csv")
    assert table["test/accuracy"].dropna().tolist() == [0.5, 0.75]
    assert not any(name.startswith("confusion/") for name in table.columns)


def test_trainers_log_to_one_run(tmp_path: Path) -> None:
    logger = make_wandb_logger(tmp_path, "run")
    position = StreamPosition()
    follow_stream(logger, position)
    train([logger], tmp_path, position, experiences=3)
    close_loggers([logger])
    steps = [row["stream/step"] for row in read_offline_run(tmp_path).history]
    assert steps == sorted(steps) and steps[-1] in (23, 24)
    assert len(offline_runs(tmp_path)) == 1


def test_runs_of_one_process_are_their_own(tmp_path: Path) -> None:
    first = make_wandb_logger(tmp_path / "a", "first")
    second = make_wandb_logger(tmp_path / "b", "second")
    first.log_metrics({"x": 1.0})
    second.log_metrics({"x": 2.0})
    close_loggers([first, second])
    for name, value in (("a", 1.0), ("b", 2.0)):
        assert [row["x"] for row in read_offline_run(tmp_path / name).history] == [value]


def test_each_run_of_a_process_lists_the_installed_packages_which_are_looked_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close_loggers([make_wandb_logger(tmp_path / "a", "first")])
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: pytest.fail("looked up again"))
    close_loggers([make_wandb_logger(tmp_path / "b", "second")])
    listed = [next((tmp_path / name).glob("wandb/*/files/requirements.txt")).read_text() for name in ("a", "b")]
    assert listed[0] == listed[1] and "lightning==" in listed[0]


def test_a_resumed_run_keeps_its_id(tmp_path: Path) -> None:
    first = make_wandb_logger(tmp_path, "run")
    run_id = first.version
    close_loggers([first])
    time.sleep(1.1)  # W&B names the directory by the second
    close_loggers([make_wandb_logger(tmp_path, "run", run_id=run_id)])
    assert [read_offline_run(path).run_id for path in offline_runs(tmp_path)] == [run_id, run_id]


@pytest.mark.parametrize(
    "environment",
    [{}, {"WANDB_API_KEY": FAKE_KEY, "WANDB_BASE_URL": "http://127.0.0.1:9"}],
    ids=["no login", "no network"],
)
def test_online_falls_back_to_offline(
    tmp_path: Path,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, value in ({"WANDB_MODE": "online"} | environment).items():
        monkeypatch.setenv(name, value)
    began = time.monotonic()
    logger = make_wandb_logger(tmp_path / "run", "run")
    assert time.monotonic() - began < 30
    logger.log_metrics({"train/loss": 0.5})
    close_loggers([logger])
    captured = capfd.readouterr()
    assert captured.out.startswith("W&B is offline (") and captured.out.count("\n") == 1
    assert "wandb sync" in captured.out and captured.err == ""
    assert FAKE_KEY not in captured.out
    assert read_offline_run(tmp_path / "run").history[0]["train/loss"] == 0.5
    assert len(offline_runs(tmp_path / "run")) == 1


def test_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"offline, online or disabled.*'on'"):
        make_wandb_logger(tmp_path, "run", mode="on")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = make_wandb_logger(tmp_path, "run")
    assert isinstance(logger, StreamWandbLogger)
    log_experience([logger], StreamPosition(), {"test/accuracy": 0.5})
    close_loggers([logger])
    assert offline_runs(tmp_path) == []


def test_secrets_are_masked_by_the_end_of_their_names() -> None:
    config = {
        "api_key": "x",
        "hub": {"HF_TOKEN": "x", "password": 123, "client-secret": "x", "apiKey": ["x"]},
        "list": [{"access_key": "x"}, ("a", 1)],
        "num_tokens": 5,
        "class_token": True,
        "token": None,
        "tokenizer": "bpe",
        "secret": {"deeper": "shown"},
        1: {2},
    }
    assert mask_secrets(config) == {
        "api_key": "***",
        "hub": {"HF_TOKEN": "***", "password": "***", "client-secret": "***", "apiKey": "***"},
        "list": [{"access_key": "***"}, ["a", 1]],
        "num_tokens": 5,
        "class_token": True,
        "token": None,
        "tokenizer": "bpe",
        "secret": {"deeper": "shown"},
        "1": [2],
    }
    assert config["api_key"] == "x"


# --- kill -9

CHILD = """
import sys, time
from pathlib import Path
from lightning_vision.tracking.metrics_csv import MetricsCSV
from lightning_vision.tracking.stream_position import StreamPosition, follow_stream
from lightning_vision.tracking.wandb_logger import make_wandb_logger
assert "codecarbon" not in sys.modules
run, position = Path("run"), StreamPosition()
loggers = [MetricsCSV(run), make_wandb_logger(run, "killed")]
for logger in loggers:
    follow_stream(logger, position)
step = 0
while True:
    for logger in loggers:
        logger.log_metrics({"train/loss": 1.0, f"new/{min(step // 20, 5)}": 0.5, "time": time.time()}, step)
    print(step, time.time(), flush=True)
    step += 1
    time.sleep(0.02)
"""


def test_kill_9_loses_nothing_older_than_two_seconds(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    said: list[tuple[int, float]] = []
    while not said or said[-1][1] - said[0][1] < 4:
        step, when = child.stdout.readline().split()
        said.append((int(step), float(when)))
    child.send_signal(signal.SIGKILL)
    killed = time.time()
    said += [(int(line.split()[0]), float(line.split()[1])) for line in child.stdout if len(line.split()) == 2]
    child.wait()
    child.stdout.close()
    time.sleep(0.5)  # W&B's own process sees that its parent is gone

    table = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert len(table) >= len(said)
    assert table["step"].tolist() == list(range(len(table)))
    assert table["train/loss"].notna().all()
    logged = [row["time"] for row in read_offline_run(tmp_path / "run", killed=True).history]
    assert logged[-1] > killed - 2
    assert len(logged) == len([when for when in table["time"] if when <= logged[-1]])


def test_the_address_of_a_service_that_has_ended_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is started by a program that used W&B inherits the address of its service, which ends with it."""
    import wandb

    close_loggers([make_wandb_logger(tmp_path / "first", "first")])
    address = os.environ["WANDB_SERVICE"]
    wandb.teardown()
    monkeypatch.setenv("WANDB_SERVICE", address)
    logger = make_wandb_logger(tmp_path / "second", "second")
    logger.log_metrics({"train/loss": 0.5})
    close_loggers([logger])
    assert read_offline_run(tmp_path / "second").history[0]["train/loss"] == 0.5
