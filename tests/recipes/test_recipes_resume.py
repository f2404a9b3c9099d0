"""All recipes of the optimisation in one run: interrupted and resumed, and on two processes."""

import json
import signal
from pathlib import Path

import pytest
import torch
from command_line import QUICK, fit, start, weights_of
from fork_server import ForkServer
from interruptions import SHOWN, interrupt
from test_ranks import free_port
from test_resume import RESUME, check_equal

from lightning_vision.cli import main

RECIPES = "--trainer.callbacks+=lightning_vision.recipes."
BOTH = (
    "--data.stream=Joint",
    "--data.noise=120",
    "--model.lr_scheduler=lightning_vision.recipes.WarmupCosine",
    "--model.lr_scheduler.epochs=2",
    "--trainer.max_epochs=4",
    f"{RECIPES}LayerDecay",
    f"{RECIPES}GradualUnfreezing",
    "--trainer.callbacks.parts=2",
    f"{RECIPES}MovingAverage",
    "--trainer.callbacks.decay=0.9",
    f"{RECIPES}ErrorReplay",
    "--trainer.callbacks+=interruptions.Interrupt",
)
INTERRUPTED = (
    "--data=coloured_squares.ColouredSquares",
    "--data.batch_size=4",
    "--model.backbone=test_byobnet",
    "--model.drop_rate=0.2",
    "--model.strategy=interruptions.Interrupted",
    f"{RECIPES}BatchSizeFinder",
    "--trainer.callbacks.largest=8",
    f"{RECIPES}LearningRateFinder",
    "--trainer.callbacks.steps=20",
    "--trainer.callbacks.highest=0.1",
)
# No batch norm, no dropout, no augmentation: nothing that depends on which images share a process.
TOGETHER = (
    "--data=interruptions.PlainSquares",
    "--data.per_class=23",
    "--model.restore_best=false",
    "--model.backbone=test_vit",
    "--model.optimizer=SGD",
    "--model.optimizer.lr=0.02",
    "--model.optimizer.momentum=0.9",
)


def test_an_interrupted_run_ends_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = (*INTERRUPTED, *BOTH)
    whole = fit(tmp_path, "whole", *command)
    # In the first part's second epoch, which shows errors again; with no epoch left: the average is the result already.
    for point in ("0::1:2", "evaluation:0"):
        for name, value in interrupt(point, signal.SIGTERM).items():
            monkeypatch.setenv(name, value)
        assert start(tmp_path, "again", *command, RESUME) == 128 + signal.SIGTERM, point
    check_equal(fit(tmp_path, "again", *command, RESUME), whole)


def test_two_processes_do_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forks: ForkServer) -> None:
    command = ("fit", *QUICK, *TOGETHER, *BOTH, f"--trainer.default_root_dir={tmp_path}")
    monkeypatch.setenv(SHOWN, str(tmp_path / "alone"))
    assert main([*command, "--run_name=one", "--data.batch_size=8"]) == 0
    two = [*command, "--run_name=two", "--data.batch_size=4", "--trainer.devices=2", "--trainer.strategy=ddp"]
    ranks = forks.start_ranks(two, tmp_path, free_port(), **{SHOWN: str(tmp_path / "shared")})
    assert [rank.wait() for rank in ranks] == [0, 0], ranks[0].log.read_text() + ranks[1].log.read_text()
    mine, others = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    for key, value in mine.items():
        torch.testing.assert_close(others[key], value, rtol=0, atol=1e-5, msg=f"{key} differs")
    alone, shared = batches(tmp_path, "alone.0"), batches(tmp_path, "shared.0", "shared.1")
    assert alone == shared
    second = [row for where, index in alone for row in index if where[2] == 1]
    assert len(set(second)) < len(second), "errors of both processes were shown again"


def batches(folder: Path, *names: str) -> list[tuple[tuple[object, ...], list[int]]]:
    """Experience, stage, epoch and batch, with the rows of all processes, in the order of training."""
    lines = [[json.loads(line) for line in (folder / name).read_text().splitlines()] for name in names]
    return [(tuple(same[0][:4]), sorted(row for each in same for row in each[4])) for same in zip(*lines, strict=True)]
