"""A run as an object: tables, figures, what a notebook shows, and directories that hold no run."""

import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from command_line import fit

from lightning_vision import Run, open_run
from lightning_vision.errors import CheckpointError, ConfigError
from lightning_vision.results.schema import read_results


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("api"), "run", "--model.strategy=MoveToData", "--trainer.max_epochs=2")


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("api"), "part", "--model.strategy=NearestMean", "--stop_after=1")


def test_the_tables_hold_the_figures_of_results_json(path: Path) -> None:
    run, results = open_run(path), read_results(path / "results.json")
    assert run.results == results and run.complete
    matrix = run.accuracy_matrix
    assert matrix.shape == (3, 3) and list(matrix.columns) == [record.name for record in results.experiences]
    np.testing.assert_array_equal(matrix.to_numpy(), np.array(results.accuracy_matrix, dtype=float))
    confusion = run.confusion
    assert list(confusion.index) == list(confusion.columns) == results.class_names
    assert confusion.to_numpy().tolist() == results.test.confusion_matrix
    classes = run.per_class
    assert list(classes.index) == results.class_names
    for name, row in classes.iterrows():
        scores = results.test.per_class[str(name)]
        assert row["recall"] == pytest.approx(scores["recall"]) and row["support"] == scores["support"]
        before = results.first_test.per_class[str(name)]["recall"]
        assert before is not None and row["change_in_recall"] == pytest.approx(row["recall"] - before)


def test_predictions_give_the_test_accuracy_and_the_confusions(path: Path) -> None:
    run = open_run(path)
    table = run.predictions
    assert table["correct"].mean() == pytest.approx(run.results.test.accuracy)
    assert table["confidence"].between(0, 1).all() and table["index"].is_unique
    names = run.results.class_names
    counted = pd.crosstab(table["true"], table["predicted"]).reindex(index=names, columns=names, fill_value=0)
    assert counted.to_numpy().tolist() == run.confusion.to_numpy().tolist()


def test_curves_have_a_row_for_each_epoch(path: Path) -> None:
    curves = open_run(path).curves
    base = curves[curves["experience"] == 0]
    assert base["epoch"].tolist() == [1, 2]  # the increments are learned by a closed form, without a loss
    assert base["train/loss"].notna().all() and base["val/accuracy"].between(0, 1).all()


def test_figures_are_drawn_when_asked_for_and_leave_matplotlib_alone(path: Path) -> None:
    backend, before = matplotlib.rcParams["backend"], dict(matplotlib.rcParams)
    figures = open_run(path).figures
    assert list(figures) == ["confusion_matrix", "accuracy_matrix", "curves", "sweep"]
    for name, figure in figures.items():
        assert figure.axes, name
    assert matplotlib.rcParams["backend"] == backend and dict(matplotlib.rcParams) == before
    assert "confusion_matrix" in figures and figures.get("histogram") is None
    with pytest.raises(ConfigError, match=r"Expected one of 'confusion_matrix', .*, found 'histogram'"):
        figures["histogram"]


def test_a_notebook_shows_the_tables_of_the_terminal(path: Path) -> None:
    html = open_run(path)._repr_html_()
    for text in ("Test accuracy before and after, per variant", "Per class on the test set", "finished, 3 experiences"):
        assert text in html
    assert html.startswith("<pre") and "<script" not in html
    assert repr(open_run(path)) == f"Run({str(path)!r}: finished, 3 experiences)"


def test_names_in_a_notebook_are_text(path: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(path, tmp_path / "run")
    text = (copy / "results.json").read_text(encoding="utf-8")
    evil = '"<script>alert(1)</script>[link=javascript:alert(1)]x[/link]"'
    (copy / "results.json").write_text(
        text.replace('"grey"', evil).replace('"scenario": "InstanceIncremental"', f'"scenario": {evil}'),
        encoding="utf-8",
    )
    html = open_run(copy)._repr_html_()
    assert "<script" not in html and "<a " not in html
    assert "&lt;script&gt;" in html


def test_an_unfinished_run_opens_and_says_so(unfinished: Path) -> None:
    run = open_run(unfinished)
    assert not run.complete
    assert "unfinished, 2 of 3 experiences" in repr(run) and "unfinished, 2 of 3 experiences" in run._repr_html_()
    assert run.accuracy_matrix.shape == (2, 3)
    assert run.figures["accuracy_matrix"].axes and run.figures["confusion_matrix"].axes
    assert len(run.predictions) == run.per_class["support"].sum()


def test_a_run_stays_open_in_another_working_directory(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    run = open_run(path.name)
    assert str(run.path) == path.name
    monkeypatch.chdir(tmp_path)
    assert run.path == path and run.complete and run.config["model.backbone"]
    assert len(run.predict(np.zeros((2, 16, 16, 3), np.uint8))) == 2


def test_a_run_that_has_finished_nothing_says_what_to_do(unfinished: Path, tmp_path: Path) -> None:
    (tmp_path / "begun").mkdir()
    shutil.copy(unfinished / "config.yaml", tmp_path / "begun")
    run = open_run(tmp_path / "begun")
    assert not run.complete and "no experience is finished yet" in run._repr_html_()
    for name in ("results", "accuracy_matrix", "per_class", "predictions", "confusion", "figures"):
        with pytest.raises(CheckpointError, match=r"at least one finished experience.*resume=True"):
            getattr(run, name)
    with pytest.raises(CheckpointError, match="training curves"):
        _ = run.curves


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    for name, found in (("file", "found the file"), ("empty", "found neither"), ("nowhere", "found nothing")):
        with pytest.raises(CheckpointError, match=rf"Expected a run directory.*{found}"):
            open_run(tmp_path / name)


def test_links_out_of_a_run_are_refused_unless_it_is_trusted(path: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(path, tmp_path / "run")
    (copy / "results.json").unlink()
    (copy / "results.json").symlink_to(path / "results.json")
    with pytest.raises(ConfigError, match="symbolic link"):
        open_run(copy)
    assert Run(copy, trust_run=True).complete
