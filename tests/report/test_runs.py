"""A run's price: learning the increments, the base apart."""

from pathlib import Path

import numpy as np
import pytest
from run_maker import CLASSES, make_run

from lightning_vision.report.gather import gather
from lightning_vision.report.runs import ReportRun
from lightning_vision.results.schema import read_results


def run_of(folder: Path) -> ReportRun:
    (group,) = gather([folder]).groups
    (run,) = [*group.runs, *group.bases]
    return run


def test_training_the_base_is_not_the_strategys_price(tmp_path: Path) -> None:
    run = run_of(make_run(tmp_path / "a", [0.5, 0.6, 0.7]))
    assert run.trained_base
    assert [run.learning_seconds, run.energy_kwh] == [pytest.approx(4.0), pytest.approx(2e-6)]
    assert run.co2eq_kg == pytest.approx(2e-6 * 0.056)
    assert (run.epochs, run.trainable_parameters, len(run.increments)) == (2.0, 2570, 2)


def test_what_a_strategy_does_with_the_data_of_a_given_base_is(tmp_path: Path) -> None:
    base = make_run(tmp_path / "base")
    changes = {"base.seconds": 3.0}
    path = make_run(tmp_path / "a", [0.5, 0.6, 0.7], base=base, changes=changes) / "results.json"
    text = path.read_text().replace('"seconds": 0.0,\n      "samples_per_second": null', '"seconds": 3.0,\n      "samples_per_second": null')  # fmt: skip
    path.write_text(text)
    run = run_of(tmp_path / "a")
    assert not run.trained_base
    assert run.learning_seconds == pytest.approx(7.0)
    assert (run.epochs, len(run.increments)) == (2.0, 2)


def test_in_a_joint_stream_all_is_the_strategys(tmp_path: Path) -> None:
    run = run_of(make_run(tmp_path, [0.5], scenario="Joint"))
    assert not run.trained_base
    assert [run.learning_seconds, run.energy_kwh, run.epochs] == [pytest.approx(2.0), pytest.approx(1e-6), 2.0]


def test_a_base_alone_has_learned_no_increment(tmp_path: Path) -> None:
    run = run_of(make_run(tmp_path, [0.5], is_base=True))
    assert (run.is_base, run.strategy, run.method, run.unfinished) == (True, "Base", "Base", None)
    assert (run.learning_seconds, run.energy_kwh, run.epochs, run.accuracy) == (0.0, 0.0, 5.0, 0.5)


def test_energy_that_was_not_tracked_is_not_known(tmp_path: Path) -> None:
    run = run_of(make_run(tmp_path, energy=None))
    assert (run.energy_kwh, run.co2eq_kg) == (None, None)


def test_the_maker_scores_as_runs_do(tmp_path: Path) -> None:
    """The fixture of these tests against what real runs are scored with."""
    from lightning_vision.results.scores import forgetting, score_predictions  # loads torch

    path = make_run(tmp_path, [0.4, 0.7, 0.6])
    results = read_results(path / "results.json")
    with np.load(path / "predictions.npz") as file:
        expected = score_predictions(file["label"], file["predicted"][-1], file["confidence"][-1], CLASSES)
    assert results.test.model_copy(update={"ece": None}) == expected.model_copy(update={"ece": None})
    assert results.forgetting == pytest.approx(forgetting(results.accuracy_matrix))
