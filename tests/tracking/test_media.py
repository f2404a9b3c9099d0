"""Figures and tables of a real run in the stores of TensorBoard and MLflow, read back by these."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command_line import fit, start

from lightning_vision.errors import ConfigError
from lightning_vision.results.schema import read_results
from lightning_vision.tracking.mlflow_store import check_options

MLFLOW = "lightning.pytorch.loggers.MLFlowLogger"
FIGURES = {"confusion/heatmap", "stream/accuracy_matrix", "stream/curves", "examples/errors"}
LAST = "experience=0002"

pytest.importorskip("mlflow", reason="the extra mlflow is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three experiences with both loggers; MLflow's store is a file of SQLite, as `mlflow ui` opens it."""
    folder = tmp_path_factory.mktemp("media")
    board = {"class_path": "TensorBoardLogger", "init_args": {"save_dir": str(folder / "logs")}}
    store = {"tracking_uri": f"sqlite:///{folder / 'mlflow.db'}", "artifact_location": str(folder / "artifacts")}
    loggers = json.dumps([board, {"class_path": MLFLOW, "init_args": store}])
    fit(folder, "run", "--model.strategy=HeadOnly", f"--trainer.logger={loggers}")
    return folder


def test_tensorboard_has_the_figures_and_tables(folder: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    place = next((folder / "logs").rglob("events.out.tfevents.*")).parent
    events = EventAccumulator(str(place), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    assert set(events.Tags()["images"]) >= FIGURES
    assert events.Images("confusion/heatmap")[0].width > 100
    top = events.Tensors("confusion/top/text_summary")
    assert [event.step for event in top] == [0, 1, 2]
    assert b"| true | predicted | count | share |" in top[-1].tensor_proto.string_val[0]
    logged = [event.value for event in events.Scalars("test/accuracy")]
    assert logged == pytest.approx(read_results(folder / "run" / "results.json").test_accuracy)


def test_mlflow_has_the_figures_and_tables(folder: Path) -> None:
    from mlflow.tracking import MlflowClient

    client: Any = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = [each for each in client.search_experiments() if each.name != "Default"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    logged = [each.value for each in client.get_metric_history(run.info.run_id, "test/accuracy")]
    assert logged == pytest.approx(read_results(folder / "run" / "results.json").test_accuracy)
    place = folder / "artifacts" / run.info.run_id / "artifacts"
    files = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert {f"{key}/{LAST}" for key in FIGURES} <= {name.rsplit("/", 1)[0] for name in files}
    assert f"confusion/matrix/{LAST}/confusion_matrix.csv" in files
    table = pd.read_json(place / "confusion" / "top" / f"{LAST}.json", orient="split")
    assert list(table.columns) == ["true", "predicted", "count", "share"]


@pytest.mark.parametrize("kind", ["folder that is a file", "no database", "server that does not run", "no store"])
def test_a_store_that_cannot_be_written(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Said at once: MLflow's own attempts take minutes."""
    (tmp_path / "file").write_text("no database, but a text that is long enough to be taken for one: " * 20)
    uri = {
        "folder that is a file": f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}",
        "no database": f"sqlite:///{tmp_path / 'file'}",
        "server that does not run": "http://127.0.0.1:9",
        "no store": "gopher://somewhere",
    }[kind]
    assert start(tmp_path, "run", f"--trainer.logger={MLFLOW}", f"--trainer.logger.tracking_uri={uri}") == 2
    told = capsys.readouterr().err
    assert f"trainer.logger: expected an MLflow store that can be written, found '{uri}'" in told
    assert "sqlite:///mlflow.db" in told
    assert not (tmp_path / "run").exists()


def test_a_password_in_an_address_is_not_shown() -> None:
    with pytest.raises(ConfigError, match=r"found 'http://\*\*\*@127\.0\.0\.1:9'"):
        check_options({"logger": {"class_path": MLFLOW, "init_args": {"tracking_uri": "http://me:secret@127.0.0.1:9"}}})
