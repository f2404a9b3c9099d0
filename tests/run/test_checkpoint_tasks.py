"""validate, test and predict: a finished run's checkpoints, looked at again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from coloured_squares import ColouredSquares
from command_line import QUICK, fit
from PIL import Image

from lightning_vision.cli import main
from lightning_vision.data.scenarios import InstanceIncremental
from lightning_vision.results.schema import read_results

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
        """The same weights and images give the same figures, so a rewritten file is the one there was."""
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
        with Image.open(run / "confusion_matrix.png") as image:
            image.load()
        shown = capsys.readouterr().out
        accuracy = json.loads(before)["test"]["accuracy"]
        assert f"test accuracy {accuracy:.4f}" in shown
        assert "on 24 images" in shown
        assert str(run / "results.json") in shown

    def test_all_figures_are_from_the_one_pass(self, run: Path) -> None:
        """Other weights than the run's predict otherwise: every figure moves with predictions.npz, the earlier rows stay."""
        before, files = read_results(run / "results.json"), {path.name: path.read_bytes() for path in run.glob("*.*")}
        path = run / "checkpoints" / "experience=0002.ckpt"
        checkpoint = torch.load(path, weights_only=True)
        for name in ("strategy.heads", "network.head.weight"):
            checkpoint["state_dict"][name].neg_()
        torch.save(checkpoint, path)
        with np.load(run / "predictions.npz") as file:
            arrays = {key: file[key] for key in file.files}
        np.savez(run / "predictions.npz", **arrays, of_another_version=np.arange(3))
        assert task("test", run) == 0
        after = read_results(run / "results.json")
        with np.load(run / "predictions.npz") as file:
            now = {key: file[key] for key in file.files}
        assert now["of_another_version"].tolist() == [0, 1, 2]
        assert np.array_equal(now["predicted"][:-1], arrays["predicted"][:-1])
        assert not np.array_equal(now["predicted"][-1], arrays["predicted"][-1])
        assert after.accuracy_matrix[:-1] == before.accuracy_matrix[:-1]
        assert after.test_accuracy[:-1] == before.test_accuracy[:-1]

        correct = now["predicted"] == now["label"]
        assert after.test.accuracy == after.test_accuracy[-1] == after.seen_accuracy[-1] == correct[-1].mean()
        assert after.test.accuracy != before.test.accuracy
        squares = ColouredSquares(stream=InstanceIncremental(experiences=3))
        parts = [np.isin(now["index"], experience.test_indices) for experience in squares.stream]
        r = np.array([[row[part].mean() for part in parts] for row in correct])
        assert np.array(after.accuracy_matrix) == pytest.approx(r)
        assert after.average_accuracy == pytest.approx(r[-1].mean())
        assert after.forgetting == pytest.approx((r[:-1, :-1].max(axis=0) - r[-1, :-1]).mean())
        assert after.backward_transfer == pytest.approx((r[-1, :2] - np.diag(r)[:2]).mean())
        assert after.average_incremental_accuracy == pytest.approx(
            np.mean([r[0, :1].mean(), r[1, :2].mean(), r[2].mean()])
        )
        assert after.average_accuracy != before.average_accuracy and after.forgetting != before.forgetting
        confusion = np.zeros((4, 4), dtype=int)
        np.add.at(confusion, (now["label"], now["predicted"][-1]), 1)
        assert after.test.confusion_matrix == confusion.tolist()
        assert pd.read_csv(run / "confusion_matrix.csv", index_col=0).to_numpy().tolist() == confusion.tolist()
        table = pd.read_csv(run / "accuracy_matrix.csv", index_col=0).to_numpy(dtype=float)
        assert table == pytest.approx(r, abs=1e-4)
        for name, variant in after.variants.items():
            right = now[f"predicted/{name}"] == now["label"]
            assert variant.test_accuracy == pytest.approx(right.mean(axis=1).tolist())
            assert variant.test.accuracy == variant.test_accuracy[-1]
            assert variant.accuracy_matrix[-1] == pytest.approx([right[-1][part].mean() for part in parts])
            assert variant.val_accuracy == before.variants[name].val_accuracy
        assert np.array_equal(now[f"predicted/{(after.picked_variant or [])[-1]}"][-1], now["predicted"][-1])
        for name in ("confusion_matrix.png", "accuracy_matrix.png", "sweep.png", "errors.png"):
            assert (run / name).read_bytes() != files[name], name
        assert after.experiences == before.experiences and after.totals == before.totals

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            (["--data.eval_transforms=[{CenterCrop: {size: 16}}]"], "data.eval_transforms"),
            (["--data.cache=decoded"], "data.cache"),
            (["--trainer.callbacks=[TestTimeAugmentation]"], "TestTimeAugmentation"),
        ],
    )
    def test_another_way_of_evaluating_leaves_the_results_alone(
        self, options: list[str], named: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The rows of earlier experiences are of the run's way, and would be compared with the last."""
        before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
        assert task("test", run, f"--data.cache_dir={tmp_path / 'cache'}", *options) == 0
        shown = capsys.readouterr().out
        assert f"is not changed: images are evaluated differently from the run ({named})" in shown
        assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before

    def test_a_run_with_several_views_is_rewritten_with_the_same(self, tmp_path: Path) -> None:
        views = "--trainer.callbacks=[{class_path: TestTimeAugmentation, init_args: {mean: logits}}]"
        run = fit(tmp_path, "run", "--data.stream.experiences=1", views)
        before = (run / "results.json").read_text()
        results = json.loads(before)
        assert results["first_test"] == results["test"]
        results["test"]["accuracy"], results["first_test"]["accuracy"] = 0.123, 0.123
        (run / "results.json").write_text(json.dumps(results))
        assert main(["test", "--ckpt_path", str(run)]) == 0
        assert json.loads((run / "results.json").read_text()) == json.loads(before)
        plain = ["--config", str(run / "config.yaml"), "--trainer.callbacks=null", "--ckpt_path", str(run)]
        assert main(["test", *plain]) == 0
        assert json.loads((run / "results.json").read_text()) == json.loads(before)

    def test_predictions_of_another_test_set_are_reported(self, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with np.load(run / "predictions.npz") as file:
            arrays = {key: file[key] for key in file.files}
        np.savez(run / "predictions.npz", **(arrays | {"label": (arrays["label"] + 1) % 4}))
        before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
        assert task("test", run) == 1
        assert "predictions.npz is of other images, labels or variants" in capsys.readouterr().err
        assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before

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
        assert "is not changed: the checkpoint is from experience 0, not the last" in shown
        assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before

    @pytest.mark.parametrize(
        "options",
        [
            ["--data.seed=7"],
            ["--data.stream.experiences=2"],
            ["--data.classes=[red,green,blue]"],
            ["--data.per_class=12"],
        ],
        ids=["another split", "another stream", "a class less", "fewer images"],
    )
    def test_other_data_leaves_the_results_alone(
        self, options: list[str], run: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Figures of other images among those of the run would be compared with them."""
        before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
        assert task("test", run, *options) == 0
        assert "is not changed: the test data differs" in capsys.readouterr().out
        assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


class TestPredict:
    def test_one_row_a_test_image(self, run: Path) -> None:
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

    def test_few_new_images_need_no_stream_as_long_as_the_runs(
        self, run: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Twelve images cannot be dealt to many experiences, and what is predicted does not depend on it."""
        assert task("predict", run, "--data.per_class=3", "--data.stream=Joint") == 0
        assert "for the test part of 12 images" in capsys.readouterr().out
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
