"""The predictions that task accuracy is counted from are in predictions.npz."""

from pathlib import Path

import numpy as np
from command_line import fit

from lightning_vision.cli import main
from lightning_vision.results.schema import read_results


def test_the_file_gives_the_recorded_task_accuracy(tmp_path: Path) -> None:
    words = ["--data.stream=ClassIncremental", "--data.stream.experiences=2", "--model.strategy=HeadOnly"]
    run = fit(tmp_path, "run", *words)
    for again in (False, True):
        if again:
            assert main(["test", "--config", str(run / "config.yaml"), "--ckpt_path", str(run)]) == 0
        task = read_results(run / "results.json").task
        with np.load(run / "predictions.npz") as file:
            right = file["task_predicted"] == file["label"]
            assert task is not None and task.accuracy[-1] == right.mean()
            assert right.mean() >= (file["predicted"][-1] == file["label"]).mean()


def test_experiences_that_share_classes_have_none(tmp_path: Path) -> None:
    run = fit(tmp_path, "run", "--model.strategy=NearestMean")
    with np.load(run / "predictions.npz") as file:
        assert "task_predicted" not in file.files
