"""Intervals of the average incremental, task and average anytime accuracies."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from run_maker import make_run
from scipy import stats

from lightning_vision.report.gather import gather
from lightning_vision.report.page import write_report
from lightning_vision.report.pseudovalues import incremental_values
from lightning_vision.report.runs import RankedMethod
from lightning_vision.report.statistics import accuracy_interval, figure_interval
from lightning_vision.report.tables import ranking_markdown, ranking_table
from lightning_vision.results.scores import average_incremental_accuracy

SEEDS = (0, 1, 2)


def ranked(folder: Path) -> RankedMethod:
    (group,) = gather([folder]).groups
    return group.ranking.methods[0]


def ends(interval: Any) -> tuple[float, float]:
    assert interval is not None and interval.low is not None and interval.high is not None
    return interval.low, interval.high


def make_tasked(folder: Path, seed: int, kept: bool = True) -> npt.NDArray[np.bool_]:
    """A run with the predictions among the classes of each image's experience; returns (N,) which of them are right."""
    run = make_run(folder, [0.3, 0.5, 0.6], seed=seed, scenario="ClassIncremental", images=90)
    with np.load(run / "predictions.npz") as file:
        arrays = {key: file[key] for key in file.files}
    draw = np.random.default_rng(seed)
    within = np.where(draw.random(90) < 0.8, arrays["label"], draw.integers(0, 3, 90)).astype(np.int32)
    right: npt.NDArray[np.bool_] = within == arrays["label"]
    results = json.loads((run / "results.json").read_text())
    results["task"] = {"accuracy": [1.0, 0.9, float(right.mean())], "accuracy_matrix": [[None] * 3] * 3}
    (run / "results.json").write_text(json.dumps(results))
    if kept:
        np.savez(run / "predictions.npz", **arrays, task_predicted=within)
    return right


def test_task_accuracy_has_the_interval_of_an_accuracy(tmp_path: Path) -> None:
    right = np.stack([make_tasked(tmp_path / str(seed), seed) for seed in SEEDS])
    row, expected = ranked(tmp_path), accuracy_interval(right)
    assert ends(row.task_accuracy) == pytest.approx((expected.low, expected.high))
    table = ranking_table(gather([tmp_path])).iloc[0]
    assert table["task accuracy low (%)"] == pytest.approx(100 * (expected.low or 0))
    written = f"{100 * (expected.low or 0):.1f} to {100 * (expected.high or 0):.1f}"
    assert written in ranking_markdown(gather([tmp_path]))


def test_without_kept_predictions_task_accuracy_is_a_mean_alone(tmp_path: Path) -> None:
    for seed in SEEDS:
        make_tasked(tmp_path / str(seed), seed, kept=seed > 0)
    row = ranked(tmp_path)
    assert row.task_accuracy is not None and row.task_accuracy.low is None and row.accuracy.low is not None


@pytest.mark.parametrize("scenario", ["ClassIncremental", "InstanceIncremental"])
def test_average_incremental_accuracy(tmp_path: Path, scenario: str) -> None:
    values = []
    for seed in SEEDS:
        run = make_run(tmp_path / str(seed), [0.3, 0.5, 0.6], seed=seed, scenario=scenario, images=90)
        with np.load(run / "predictions.npz") as file:
            values.append(incremental_values(file["predicted"] == file["label"], file["part"]))
    row = ranked(tmp_path)
    means = [json.loads((tmp_path / str(seed) / "results.json").read_text())["average_incremental_accuracy"] for seed in SEEDS]  # fmt: skip
    assert np.mean(values, axis=1) == pytest.approx(means)
    expected = figure_interval(float(np.mean(means)), np.stack(values))
    assert ends(row.average_incremental) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("n", [5, 40])
def test_the_values_of_images_have_the_figure_as_their_mean(n: int) -> None:
    """Among them images in no part, and parts without an image."""
    draw = np.random.default_rng(n)
    part, correct = draw.integers(-1, 4, n), draw.random((4, n)) < 0.6
    part[part == 2] = 3
    r = np.array([[correct[t, part == i].mean() if (part == i).any() else np.nan for i in range(4)] for t in range(4)])
    assert incremental_values(correct, part).mean() == pytest.approx(average_incremental_accuracy(r))


def make_online(
    folder: Path, seed: int, accuracies: list[float], changes: dict[str, Any] | None = None, **options: Any
) -> Path:
    own = {
        "anytime_accuracy": accuracies,
        "average_anytime_accuracy": float(np.mean(accuracies)),
        "anytime_every": 20,
        "run.base_strategy": None,
    }
    online = {"data.init_args.stream.init_args.evaluate_images": 45}
    return make_run(folder, [0.3, 0.5, 0.6], seed=seed, scenario="ClassIncremental", images=90, changes=own | (changes or {}), options=online, **options)  # fmt: skip


def test_average_anytime_accuracy(tmp_path: Path) -> None:
    """By hand: 40 images an experience, so two measurements in each, on half of 30, 60 and 90 test images."""
    found = {0: [0.8, 0.9, 0.6, 0.7, 0.5, 0.5], 1: [0.9, 0.9, 0.7, 0.7, 0.6, 0.6], 2: [0.8, 0.8, 0.6, 0.6, 0.5, 0.4]}
    for seed, accuracies in found.items():
        make_online(tmp_path / str(seed), seed, accuracies)
    row, p = ranked(tmp_path), np.array(list(found.values()))
    images = (p * (1 - p) / np.array([15, 15, 30, 30, 45, 45])).mean()
    seeds = p.mean(axis=1).var(ddof=1) / 3
    t = stats.t.ppf(0.975, 2 * ((seeds + images) / seeds) ** 2)
    half = t * (seeds + images) ** 0.5
    assert ends(row.average_anytime) == pytest.approx((p.mean() - half, p.mean() + half))
    write_report(gather([tmp_path]), tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f"{100 * (p.mean() - half):.1f} % to" in page


def test_measurements_begin_after_the_base_and_count_whole_batches(tmp_path: Path) -> None:
    """By hand: batches of 15 in both increments, 3 each, the last of 10 images; so 3 measurements in each, on half of 60 and 90 images."""
    base = {"class_path": "lightning_vision.learning.strategy.Strategy", "init_args": {}}
    p = np.array([0.9, 0.8, 0.5, 0.6, 0.7, 0.4])
    run = make_online(tmp_path / "run", 0, p.tolist(), {"run.base_strategy": base, "anytime_every": 15})
    results = json.loads((run / "results.json").read_text())
    for record in results["experiences"]:
        record["batch_size"] = 15
    (run / "results.json").write_text(json.dumps(results))
    half = stats.norm.ppf(0.975) * (p * (1 - p) / np.repeat([30, 45], 3)).mean() ** 0.5
    assert ends(ranked(tmp_path).average_anytime) == pytest.approx((p.mean() - half, p.mean() + half), rel=1e-5)


def test_groups_of_images_leave_a_mean_alone(tmp_path: Path) -> None:
    groups = [f"sequence {number // 9}" for number in range(90)]
    make_online(tmp_path / "run", 0, [0.5] * 6, groups=groups)
    found = ranked(tmp_path).average_anytime
    assert found is not None and found.mean == pytest.approx(0.5) and found.low is None


def test_without_a_config_there_is_a_mean_alone(tmp_path: Path) -> None:
    run = make_online(tmp_path / "run", 0, [0.5] * 6)
    (run / "config.yaml").unlink()
    found = ranked(tmp_path).average_anytime
    assert found is not None and found.low is None
    assert pd.isna(ranking_table(gather([tmp_path])).iloc[0]["average anytime accuracy low (%)"])
