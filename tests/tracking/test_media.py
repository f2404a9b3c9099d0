"""Figures and tables of a real run in the stores of TensorBoard and MLflow, read back by these."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command_line import fit, start

from lightning_vision.tracking.mlflow_store import check_options

MLFLOW = "lightning.pytorch.loggers.MLFlowLogger"
FIGURES = {"confusion/heatmap", "stream/accuracy_matrix", "stream/curves", "examples/errors"}


def test_tensorboard_has_the_figures_and_tables(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = ("--trainer.logger=TensorBoardLogger", f"--trainer.logger.save_dir={tmp_path / 'logs'}")
    run = fit(tmp_path, "run", "--model.strategy=HeadOnly", *words)
    folder = next((tmp_path / "logs").rglob("events.out.tfevents.*")).parent
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    assert set(events.Tags()["images"]) >= FIGURES
    assert events.Images("confusion/heatmap")[0].width > 100
    top = [event for event in events.Tensors("confusion/top/text_summary")]
    assert [event.step for event in top] == [0, 1, 2]
    assert b"| true | predicted | count | share |" in top[-1].tensor_proto.string_val[0]
    logged = {event.value for event in events.Scalars("test/accuracy")}
    from lightning_vision import open_run

    assert {round(value or 0, 5) for value in open_run(run).results.test_accuracy} == {round(v, 5) for v in logged}


def test_mlflow_has_the_figures_and_tables(tmp_path: Path) -> None:
    """In a local sqlite store, as ``mlflow ui --backend-store-uri`` shows it."""
    tracking = pytest.importorskip("mlflow.tracking", reason="the extra mlflow is not installed")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    words = (f"--trainer.logger={MLFLOW}", f"--trainer.logger.tracking_uri={uri}",
             f"--trainer.logger.artifact_location={tmp_path / 'artifacts'}")  # fmt: skip
    fit(tmp_path, "run", "--model.strategy=HeadOnly", *words)
    client: Any = tracking.MlflowClient(uri)
    (experiment,) = [each for each in client.search_experiments() if each.name != "Default"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert len(client.get_metric_history(run.info.run_id, "test/accuracy")) == 3
    files = {path.relative_to(tmp_path / "artifacts" / run.info.run_id / "artifacts").as_posix()
             for path in (tmp_path / "artifacts").rglob("*") if path.is_file()}  # fmt: skip
    last = "experience=0002"
    assert {f"{key}/{last}" for key in FIGURES} <= {name.rsplit("/", 1)[0] for name in files}
    assert f"confusion/matrix/{last}/confusion_matrix.csv" in files
    folder = tmp_path / "artifacts" / run.info.run_id / "artifacts"
    table = pd.read_json(folder / "confusion" / "top" / f"{last}.json", orient="split")
    assert list(table.columns) == ["true", "predicted", "count", "share"]


@pytest.mark.parametrize("kind", ["folder that is a file", "no database", "server that does not run"])
def test_a_store_that_cannot_be_written(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Said at once: MLflow's own attempts take minutes."""
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    (tmp_path / "file").write_text("no database, but a text that is long enough to be taken for one: " * 20)
    uri = {
        "folder that is a file": f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}",
        "no database": f"sqlite:///{tmp_path / 'file'}",
        "server that does not run": "http://127.0.0.1:9",
    }[kind]
    assert start(tmp_path, "run", f"--trainer.logger={MLFLOW}", f"--trainer.logger.tracking_uri={uri}") == 2
    told = capsys.readouterr().err
    assert f"trainer.logger: expected an MLflow store that can be written, found '{uri}'" in told
    assert "sqlite:///mlflow.db" in told
    assert not (tmp_path / "run").exists()


def test_a_password_in_an_address_is_not_shown() -> None:
    with pytest.raises(Exception, match=r"found 'http://\*\*\*@127\.0\.0\.1:9'"):
        check_options({"logger": {"class_path": MLFLOW, "init_args": {"tracking_uri": "http://me:secret@127.0.0.1:9"}}})
