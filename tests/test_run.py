"""One run like the quickstart's, and everything that it leaves: each file of the run directory, each key of the loggers."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import yaml
from command_line import fit
from PIL import Image
from wandb_offline import OfflineRun, offline_runs, read_offline_run

from lightning_vision.learning.checkpoints import read_checkpoint
from lightning_vision.results.environment import path_hashes
from lightning_vision.results.schema import Results, read_results, without_measurements

EPSILONS = (1e-4, 1e-2, 0.5)
NAMES = [f"epsilon={epsilon}" for epsilon in EPSILONS]
SWEEP = ("--model.strategy=MoveToData", f"--model.strategy.epsilon={list(EPSILONS)}", "--trainer.max_epochs=2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where runs go, with no variable of W&B's and no login of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for key in [key for key in os.environ if key.startswith("WANDB_")]:
            patch.delenv(key)
        patch.setenv("NETRC", os.devnull)
        yield tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    """A base and two increments, three epsilons, with energy, W&B offline and progress as by default."""
    return fit(
        folder, "sweep", *SWEEP, "--energy.enabled=true", "--energy.country=DEU", "--wandb.mode=null",
        "--wandb.group=trial", "--trainer.enable_progress_bar=true", "--keep_checkpoints=all", "--trainer.log_every_n_steps=1",
    )  # fmt: skip


@pytest.fixture(scope="module")
def results(run: Path) -> Results:
    return read_results(run / "results.json")


@pytest.fixture(scope="module")
def predictions(run: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(run / "predictions.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


@pytest.fixture(scope="module")
def logged(run: Path) -> OfflineRun:
    return read_offline_run(run)


def test_the_run_directory_holds_what_is_promised_and_nothing_else(run: Path) -> None:
    assert {path.name for path in run.iterdir()} == {
        "config.yaml", "results.json", "metrics.csv", "emissions.csv", "predictions.npz", "checkpoints", "wandb",
        "confusion_matrix.png", "confusion_matrix.csv", "accuracy_matrix.png", "accuracy_matrix.csv", "curves.png",
        "sweep.png", "errors.png",
    }  # fmt: skip


def test_results_agree_with_the_predictions(results: Results, predictions: dict[str, npt.NDArray[Any]]) -> None:
    """The one file is figures, the other what they were counted from."""
    label, predicted = predictions["label"], predictions["predicted"]
    assert results.run.complete
    assert results.run.name == "sweep"
    assert results.run.strategy.class_path == "strategies.MoveToData"
    assert results.run.strategy.init_args == {"epsilon": list(EPSILONS), "passes": 1}
    assert results.test_accuracy == pytest.approx([(row == label).mean() for row in predicted])
    assert list(results.variants) == NAMES
    assert [(variant.key, variant.value) for variant in results.variants.values()] == [("epsilon", e) for e in EPSILONS]
    assert results.task is None, "experiences share their classes"
    for name, variant in results.variants.items():
        rows = predictions[f"predicted/{name}"]
        assert variant.test_accuracy == pytest.approx([(row == label).mean() for row in rows])
        assert set(variant.extra["n_epsilon"]) == set(results.class_names)
    confusion = np.zeros((4, 4), dtype=int)
    np.add.at(confusion, (label, predicted[-1]), 1)
    assert results.test.confusion_matrix == confusion.tolist()
    assert [record.index for record in results.experiences] == [0, 1, 2]
    assert [record.epochs for record in results.experiences] == [2, 1, 1], "a closed form takes one pass"
    picked = results.picked_variant
    assert picked is not None
    assert picked[0] is None, "the base has no variants yet"
    for t in (1, 2):
        best = max(results.variants.values(), key=lambda variant: variant.val_accuracy[t] or 0.0)
        assert results.variants[str(picked[t])].val_accuracy[t] == best.val_accuracy[t]


def test_the_price_adds_up(results: Results) -> None:
    tasks = [used for record in results.experiences for used in (record, record.evaluation)]
    assert results.totals.seconds == pytest.approx(sum(task.seconds for task in tasks))
    assert results.totals.energy_kwh == pytest.approx(sum(task.energy_kwh or 0.0 for task in tasks))
    assert all(task.seconds > 0 and (task.energy_kwh or 0) > 0 and (task.co2eq_kg or 0) > 0 for task in tasks)
    assert results.energy is not None
    assert results.energy.country == "DEU"
    assert results.energy.grid_gco2_per_kwh == pytest.approx(
        1000 * (results.totals.co2eq_kg or 0) / (results.totals.energy_kwh or 1)
    )


def test_emissions_have_one_row_a_task(run: Path, results: Results) -> None:
    rows = pd.read_csv(run / "emissions.csv")
    assert rows["task_name"].tolist() == [
        f"experience {t}: {what}" for t in range(3) for what in ("learning", "evaluation")
    ]
    tasks = [used for record in results.experiences for used in (record, record.evaluation)]
    assert rows["energy_consumed"].tolist() == pytest.approx([task.energy_kwh for task in tasks])
    assert set(rows["country_iso_code"]) == {"DEU"}
    assert {"duration", "emissions", "cpu_energy", "ram_energy"} <= set(rows.columns)


def test_predictions_are_one_row_an_experience(results: Results, predictions: dict[str, npt.NDArray[Any]]) -> None:
    from coloured_squares import ColouredSquares

    n, t = 24, 3
    shapes = {key: value.shape for key, value in predictions.items()}
    expected: dict[str, tuple[int, ...]] = {"index": (n,), "path_hash": (n,), "label": (n,), "part": (n,)}
    for name in ("", *(f"/{name}" for name in NAMES)):
        expected |= {f"predicted{name}": (t, n), f"confidence{name}": (t, n)}
    assert shapes == expected
    data = ColouredSquares()
    rows = predictions["index"]
    assert (data.samples["split"].iloc[rows] == "test").all()
    assert predictions["path_hash"].tolist() == path_hashes(data.samples["path"].iloc[rows].tolist()).tolist()
    assert predictions["label"].tolist() == data.samples["label"].iloc[rows].tolist()
    confidence = predictions["confidence"]
    assert ((confidence > 0.25 - 1e-6) & (confidence <= 1)).all(), "the largest of four probabilities"
    for row, picked in enumerate(results.picked_variant or []):
        if picked is not None:
            assert (predictions["predicted"][row] == predictions[f"predicted/{picked}"][row]).all()


def test_forgetting_follows_from_the_predictions_alone(
    results: Results, predictions: dict[str, npt.NDArray[Any]]
) -> None:
    """`part` says which images each column of the accuracy matrix is over."""
    correct = predictions["predicted"] == predictions["label"]
    r = np.stack([correct[:, predictions["part"] == i].mean(axis=1) for i in range(3)], axis=1)
    assert r.tolist() == [pytest.approx(row) for row in results.accuracy_matrix]
    assert (r[:2, :2].max(axis=0) - r[2, :2]).mean() == pytest.approx(results.forgetting)


def test_metrics_follow_the_stream(run: Path) -> None:
    rows = pd.read_csv(run / "metrics.csv")
    assert rows["step"].is_monotonic_increasing
    assert rows["stream/experience"].is_monotonic_increasing
    assert set(rows["stream/experience"]) == {0, 1, 2}
    for key in ("train/loss", "train/accuracy", "val/loss", "val/accuracy"):
        assert rows.loc[rows["stream/experience"] == 0, key].notna().sum() == 2, "one value an epoch"
    assert rows["test/accuracy"].notna().sum() == 3
    for name in NAMES:
        assert rows[f"test/accuracy/{name}"].notna().sum() == 2, "the variants begin with the first increment"


def test_images_are_images_and_tables_are_tables(run: Path, results: Results) -> None:
    for name in ("confusion_matrix", "accuracy_matrix", "curves", "sweep", "errors"):
        with Image.open(run / f"{name}.png") as image:
            image.load()
            assert min(image.size) > 150
    confusion = pd.read_csv(run / "confusion_matrix.csv", index_col=0)
    assert confusion.to_numpy().tolist() == results.test.confusion_matrix
    assert confusion.columns.tolist() == results.class_names
    matrix = pd.read_csv(run / "accuracy_matrix.csv", index_col=0).to_numpy()
    assert matrix == pytest.approx(np.array(results.accuracy_matrix, dtype=float), nan_ok=True, abs=1e-4)


def test_wandb_holds_every_key_of_the_design(run: Path, logged: OfflineRun) -> None:
    keys = {key for row in logged.history for key in row}
    assert {
        "train/loss", "val/accuracy", "test/accuracy", "stream/experience", "stream/average_accuracy", "stream/forgetting",
        "energy/kwh", "energy/co2eq_kg", "confusion/heatmap", "confusion/top", "examples/errors",
    } <= keys  # fmt: skip
    assert [name for name in logged.artifacts if "confusion" in name]
    assert ["confusion_matrix.csv"] in logged.artifacts.values()


def test_wandb_is_one_run_with_group_job_type_and_the_whole_config(run: Path, logged: OfflineRun) -> None:
    assert len(offline_runs(run)) == 1
    assert (logged.name, logged.group, logged.job_type) == ("sweep", "trial", "MoveToData")
    assert logged.ended
    written = yaml.safe_load((run / "config.yaml").read_text())
    for key in ("trainer", "model", "data", "energy", "wandb", "seed_everything", "keep_checkpoints"):
        assert logged.config[key] == written[key], key


def test_the_step_never_runs_backwards_and_the_axes_are_the_streams_own(logged: OfflineRun) -> None:
    steps = [row["stream/step"] for row in logged.history if "stream/step" in row]
    assert steps == sorted(steps)
    experiences = [row["stream/experience"] for row in logged.history if "stream/experience" in row]
    assert experiences == sorted(experiences)
    assert set(experiences) == {0, 1, 2}
    assert logged.axes["train/loss"] == "stream/step"
    for key in ("test/accuracy", "stream/average_accuracy", "energy/kwh", "confusion/top"):
        assert logged.axes[key] == "stream/experience"
    assert [row["test/accuracy"] for row in logged.history if "test/accuracy" in row].__len__() == 3


def test_the_config_starts_the_same_run_again(run: Path, folder: Path) -> None:
    """The same options give the same results, except for measurements; its config neither resumes nor deletes the first."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["ckpt_path"] is None
    assert config["overwrite"] is False
    from lightning_vision.cli import main

    assert main(["fit", "--config", str(run / "config.yaml")]) == 2, "its own directory is there already"
    assert main(["fit", "--config", str(run / "config.yaml"), "--run_name=again", "--wandb.mode=disabled"]) == 0
    first, again = (without_measurements(read_results(each / "results.json")) for each in (run, folder / "again"))
    assert first["run"].pop("name") != again["run"].pop("name")
    assert again == first
    shutil.rmtree(folder / "again")


def test_the_memory_is_what_the_checkpoint_keeps_of_the_strategy(run: Path, results: Results) -> None:
    weights = read_checkpoint(run / "checkpoints" / "experience=0002.ckpt")["state_dict"]
    kept = {key: value for key, value in weights.items() if key.startswith("strategy.")}
    assert kept["strategy.heads"].shape[:2] == (3, 4)
    assert results.memory_bytes == sum(value.nbytes for value in kept.values()) > 0


def test_the_last_checkpoint_is_what_was_evaluated(run: Path) -> None:
    names = sorted(path.name for path in (run / "checkpoints").glob("*.ckpt"))
    assert names == [f"experience={t:04d}.ckpt" for t in range(3)], "the inner ones are gone"
    saved = read_checkpoint(run / "checkpoints" / names[-1])["lightning_vision"]
    assert saved["experience"] == 2
    assert saved["picked_variant"] == json.loads((run / "results.json").read_text())["picked_variant"][-1]


@pytest.mark.parametrize(("keep", "kept"), [("last", [0, 4]), ("2", [0, 3, 4])])
def test_checkpoints_are_kept_as_asked(keep: str, kept: list[int], folder: Path) -> None:
    """The base is always kept; ``all`` is what the run above did."""
    run = fit(
        folder, f"keep-{keep}", "--model.strategy=MoveToData", "--model.strategy.epsilon=0.1", "--data.stream.experiences=5",
        "--data.per_class=12", "--data.val_fraction=0", f"--keep_checkpoints={keep}",
    )  # fmt: skip
    found = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert found[: len(kept)] == [f"experience={t:04d}.ckpt" for t in kept]
    frozen = [name for name in found if name.startswith("frozen-")]
    assert found[len(kept) :] == frozen and len(frozen) == len(kept) - 2, (
        "experience 3 needs it, the first and last do not"
    )
