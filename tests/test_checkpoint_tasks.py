"""validate, test and predict: a finished run's checkpoints, looked at again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import QUICK, fit
from PIL import Image

from lightning_vision.cli import main
from lightning_vision.results import read_results

SWEEP = ("--model.strategy=MoveToData", "--model.strategy.epsilon=[0.001,0.1]")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep whose checkpoint holds two heads."""
    return fit(tmp_path_factory.mktemp("runs"), "run", *SWEEP, "--keep_checkpoints=all")


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy that may be written into, moved as runs are between machines."""
    return shutil.copytree(finished, tmp_path / "copied")


def task(name: str, checkpoint: Path, *options: str) -> int:
    """The exit code of a subcommand on a checkpoint or a run directory."""
    return main([name, *QUICK, *SWEEP, *options, f"--ckpt_path={checkpoint}"])


class TestTest:
    def test_rewrites_what_the_run_found(self, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The same weights and pictures give the same figures, so a rewritten file is the one there was."""
        before, confusion = (run / "results.json").read_text(), (run / "confusion_matrix.csv").read_text()
        damaged = json.loads(before)
        damaged["test"]["accuracy"], damaged["test_accuracy"][-1] = 0.123, 0.123
        damaged["test"]["confusion_matrix"] = [[0] * 4] * 4
        (run / "results.json").write_text(json.dumps(damaged))
        (run / "confusion_matrix.csv").unlink()
        (run / "confusion_matrix.png").unlink()
        assert task("test", run) == 0
        assert json.loads((run / "results.json").read_text()) == json.loads(before)
        assert (run / "confusion_matrix.csv").read_text() == confusion
        with Image.open(run / "confusion_matrix.png") as picture:
            picture.load()
        shown = capsys.readouterr().out
        accuracy = json.loads(before)["test"]["accuracy"]
        assert f"test accuracy {accuracy:.4f}" in shown
        assert "on 24 pictures" in shown
        assert str(run / "results.json") in shown

    def test_its_own_config_is_enough(self, run: Path) -> None:
        """What else was chosen for the run is in it: the network, the strategy, the data."""
        before = (run / "results.json").read_text()
        assert main(["test", "--config", str(run / "config.yaml"), "--ckpt_path", str(run)]) == 0
        assert json.loads((run / "results.json").read_text()) == json.loads(before)

    def test_an_earlier_experience_leaves_the_results_alone(
        self, run: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
        assert task("test", run / "checkpoints" / "experience=0000.ckpt") == 0
        shown = capsys.readouterr().out
        assert f"test accuracy {read_results(run / 'results.json').test_accuracy[0]:.4f}" in shown
        assert "left as it is: the checkpoint is from experience 0, not the last" in shown
        assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before

    @pytest.mark.parametrize(
        "options",
        [
            ["--data.seed=7"],
            ["--data.stream.experiences=2"],
            ["--data.classes=[red,green,blue]"],
            ["--data.per_class=12"],
        ],
        ids=["another split", "another stream", "a class less", "fewer pictures"],
    )
    def test_other_data_leaves_the_results_alone(
        self, options: list[str], run: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Figures of other pictures among those of the run would be compared with them."""
        before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
        assert task("test", run, *options) == 0
        assert "left as it is: the test data is another" in capsys.readouterr().out
        assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


class TestPredict:
    def test_one_row_a_test_picture(self, run: Path) -> None:
        assert task("predict", run) == 0
        table = pd.read_csv(run / "predictions.csv")
        names = ["red", "green", "blue", "grey"]
        assert table.columns.tolist() == ["path", "predicted", *(f"probability/{name}" for name in names), "true"]
        probability = table[[f"probability/{name}" for name in names]].to_numpy()
        assert probability.sum(axis=1) == pytest.approx(np.ones(24), abs=1e-5)
        assert [names[column] for column in probability.argmax(axis=1)] == table["predicted"].tolist()
        assert [path.split("/")[0] for path in table["path"]] == table["true"].tolist()
        with np.load(run / "predictions.npz") as predictions:
            assert [names.index(name) for name in table["predicted"]] == predictions["predicted"][-1].tolist()
            assert probability.max(axis=1) == pytest.approx(predictions["confidence"][-1], abs=1e-5)

    def test_a_class_that_was_not_seen_has_no_probability(self, tmp_path: Path) -> None:
        run = fit(
            tmp_path,
            "run",
            *SWEEP,
            "--data.stream=ClassIncremental",
            "--data.stream.experiences=2",
            "--keep_checkpoints=all",
        )
        base = run / "checkpoints" / "experience=0000.ckpt"
        assert task("predict", base, "--data.stream=ClassIncremental", "--data.stream.experiences=2") == 0
        table = pd.read_csv(run / "predictions.csv")
        assert (table[["probability/blue", "probability/grey"]] == 0).all(axis=None)
        assert set(table["predicted"]) <= {"red", "green"}

    def test_few_new_pictures_need_no_stream_as_long_as_the_runs(
        self, run: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Twelve pictures cannot be dealt to many experiences, and what is predicted does not depend on it."""
        assert task("predict", run, "--data.per_class=3", "--data.stream=Joint") == 0
        assert "for the test part of 12 pictures" in capsys.readouterr().out
        assert len(pd.read_csv(run / "predictions.csv")) == 3


class TestValidate:
    def test_the_accuracy_that_the_pick_went_by(self, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert task("validate", run) == 0
        shown = capsys.readouterr().out
        results = read_results(run / "results.json")
        picked = str((results.picked_variant or [])[-1])
        assert f"val/accuracy {results.variants[picked].val_accuracy[-1]:.4f}" in shown
        assert "val/loss" in shown
        assert "experiences 0 to 2" in shown

    def test_without_validation_data(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        options = ("--data.val_fraction=0", "--data.stream.experiences=1")
        run = fit(tmp_path, "run", *options)
        capsys.readouterr()
        assert main(["validate", *QUICK, *options, f"--ckpt_path={run}"]) == 0
        assert "There is no validation data (data.val_fraction is 0.0)" in capsys.readouterr().out
