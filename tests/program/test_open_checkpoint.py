"""A checkpoint opened without a command line."""

import os
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import checkpoint_of, fit, weights_of

from lightning_vision.cli import main
from lightning_vision.errors import CheckpointError, ConfigError
from lightning_vision.program.open_checkpoint import open_checkpoint
from lightning_vision.run.checkpoint_tasks import predict
from lightning_vision.terminal.messages import muted

DATA = {"data": "coloured_squares.ColouredSquares"}
"""A class of the user's own is named, since a run directory alone may not name it."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = (
        "--model.strategy=HeadOnly",
        "--keep_checkpoints=all",
        "--seed_everything=3",
        "--data.classes=[red,green]",
    )
    return fit(tmp_path_factory.mktemp("opened"), "run", *options)


def test_it_predicts_what_the_command_line_does(run: Path) -> None:
    opened = open_checkpoint(run, DATA)
    assert opened.directory.path == run and opened.path == run / "checkpoints" / "experience=0002.ckpt"
    assert opened.experience == 2 and opened.model.seed == 3
    assert opened.model.class_names == opened.datamodule.class_names == ["red", "green"]
    assert all(torch.equal(value, opened.model.state_dict()[key]) for key, value in weights_of(run).items())
    predict(opened)
    mine = (run / "predictions.csv").read_bytes()
    assert main(["predict", f"--ckpt_path={run}", "--data=coloured_squares.ColouredSquares"]) == 0
    assert mine == (run / "predictions.csv").read_bytes() and mine.count(b"\n") == 1 + 12


def test_an_earlier_experience_and_other_options(run: Path) -> None:
    base = run / "checkpoints" / "experience=0000.ckpt"
    opened = open_checkpoint(base, {**DATA, "data.init_args.noise": 5, "data.train_transforms": None})
    assert opened.path == base and opened.experience == checkpoint_of(run, 0)["lightning_vision"]["experience"] == 0
    assert opened.datamodule.describe()["init_args"]["noise"] == 5


def test_the_process_is_left_as_it_was(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "17")
    monkeypatch.delenv("PL_SEED_WORKERS", raising=False)
    before = dict(os.environ), list(sys.argv), random.getstate(), torch.get_rng_state(), np.random.get_state()
    open_checkpoint(run, DATA)
    assert (dict(os.environ), list(sys.argv), random.getstate()) == before[:3]
    assert torch.equal(torch.get_rng_state(), before[3])
    after = np.random.get_state()
    assert all(np.array_equal(one, other) for one, other in zip(before[4], after, strict=True))


def test_nothing_is_printed_where_it_is_muted(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    with muted():
        open_checkpoint(run, DATA)
    assert capfd.readouterr() == ("", "")


def test_a_class_that_a_run_directory_names_is_not_imported_unless_it_is_trusted(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    written = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(written.replace("coloured_squares.ColouredSquares", "strange_squares.Strange"))
    (tmp_path / "strange_squares.py").write_text(
        "from coloured_squares import ColouredSquares\nclass Strange(ColouredSquares): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"other/config\.yaml.*strange_squares\.Strange"):
        open_checkpoint(other)
    assert "strange_squares" not in sys.modules
    assert type(open_checkpoint(other, trust_run=True).datamodule).__name__ == "Strange"


def test_what_is_not_there(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"found nothing at .*missing"):
        open_checkpoint(tmp_path / "missing")
    checkpoint = tmp_path / "alone" / "checkpoints" / "experience=0002.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes((run / "checkpoints" / "experience=0002.ckpt").read_bytes())
    with pytest.raises(
        CheckpointError,
        match=r"Expected .*alone/config\.yaml, with the options of the classifier; .* overrides=\{\"config\": FILE\}",
    ):
        open_checkpoint(checkpoint, DATA)
    assert open_checkpoint(checkpoint, {"config": run / "config.yaml"}).experience == 2


def test_an_option_that_does_not_fit_the_checkpoint(run: Path) -> None:
    with pytest.raises(CheckpointError, match="test_vit"):
        open_checkpoint(run, {**DATA, "model.backbone": "test_vit"})
    with pytest.raises(ConfigError, match=r"Unknown configuration key 'nois' of data\. Similar names: noise"):
        open_checkpoint(run, {**DATA, "data.nois": 5})
    with pytest.raises(ConfigError, match="opened in one process"):
        open_checkpoint(run, {**DATA, "trainer.devices": 2})


def test_a_strategy_that_learns_experience_0_itself_predicts_after_it(tmp_path: Path) -> None:
    run = fit(tmp_path, "own", "--model.strategy=ICaRL", "--stop_after=0", "--data.classes=[red,green]")
    opened = open_checkpoint(run, DATA)
    assert opened.experience == 0
    assert opened.model.learner is opened.model.strategy
