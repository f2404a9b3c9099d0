"""The linear probe in a report: its interval is that of an accuracy, what it is above the method is paired, its curve beside the head's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from run_maker import make_run

from lightning_vision.report.gather import gather
from lightning_vision.report.paper_tables import paper_tables
from lightning_vision.report.probe_chart import HEAD, PROBE, probe_chart
from lightning_vision.report.runs import RankedMethod
from lightning_vision.report.statistics import accuracy_interval, difference_test
from lightning_vision.report.tables import ranking_markdown, ranking_table

SEEDS = (0, 1, 2)


def make_probed(folder: Path, seed: int, kept: bool = True, **options: Any) -> Path:
    """A run on three experiences with a probe after the last two; ``kept``: with its predictions."""
    run = make_run(folder, [0.5, 0.6, 0.7], seed=seed, **options)
    with np.load(run / "predictions.npz") as file:
        arrays = {key: file[key] for key in file.files}
    draw = np.random.default_rng(seed)
    probed = np.where(draw.random(arrays["predicted"].shape) < 0.85, arrays["label"], draw.integers(0, 3, 60))
    probed[0] = -1
    results = json.loads((run / "results.json").read_text())
    accuracy = [None, *(probed[1:] == arrays["label"]).mean(1).tolist()]
    none: list[list[None]] = [[None] * 3] * 3
    results["probe"] = {
        "accuracy": accuracy, "accuracy_matrix": none, "ridge": [None, 0.1, 0.1], "train_images": [None, 80, 120],
        "seconds": [None, 1.0, 1.0],
    }  # fmt: skip
    (run / "results.json").write_text(json.dumps(results))
    if kept:
        np.savez(run / "predictions.npz", **arrays, probe_predicted=probed.astype(np.int32))
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probed")
    for seed in SEEDS:
        make_probed(folder / "runs" / f"probed-{seed}", seed)
        make_run(folder / "runs" / f"plain-{seed}", [0.5, 0.5, 0.5], strategy="strategies.EWC", seed=seed)
    return folder


def ranked(folder: Path, label: str = "HeadOnly") -> RankedMethod:
    (group,) = gather([folder]).groups
    return next(row for row in group.ranking.methods if row.label == label)


def test_intervals_over_seeds_and_images(folder: Path) -> None:
    correct = {"predicted": [], "probe_predicted": []}  # type: dict[str, list[Any]]
    for seed in SEEDS:
        with np.load(folder / "runs" / f"probed-{seed}" / "predictions.npz") as file:
            for key, rows in correct.items():
                rows.append(file[key][-1] == file["label"])
    method, probe = (np.stack(rows) for rows in correct.values())
    row = ranked(folder)
    for found, expected in (
        (row.probe_accuracy, accuracy_interval(probe)),
        (row.probe_gain, difference_test(probe, method).difference),
    ):
        assert found is not None and found.low is not None and expected.low is not None and expected.high is not None
        assert found.mean == pytest.approx(expected.mean)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert ranked(folder, "EWC").probe_accuracy is None and ranked(folder, "EWC").probe_gain is None


def test_tables_have_both_ends(folder: Path) -> None:
    row, table = ranked(folder), ranking_table(gather([folder])).set_index("method")
    assert row.probe_accuracy is not None and row.probe_accuracy.low is not None and row.probe_accuracy.high is not None
    ends = [100 * row.probe_accuracy.low, 100 * row.probe_accuracy.high]
    found = [table[f"probe accuracy {end} (%)"]["HeadOnly"] for end in ("low", "high")]
    assert found == pytest.approx(ends) and pd.isna(table["probe above method (points)"]["EWC"])
    written = f"{ends[0]:.1f} to {ends[1]:.1f}"
    assert written in paper_tables(gather([folder]), "latex") and written in ranking_markdown(gather([folder]))


def test_the_curve_has_head_and_probe_where_there_is_a_probe(folder: Path) -> None:
    (group,) = gather([folder]).groups
    chart = probe_chart(group)
    assert chart is not None and {row["c6"] for row in chart.datasets["rows"]} == {"HeadOnly"}
    points = {(row["c5"], row["c1"]): row["c2"] for row in chart.datasets["rows"]}
    assert points.keys() == {(HEAD, 2), (HEAD, 3), (PROBE, 2), (PROBE, 3)}
    (method,) = (each for each in group.methods if each.label == "HeadOnly")
    means = {whose: np.mean([one.results.seen_accuracy[-1] if whose == HEAD else one.probe_accuracy for one in method.runs]) for whose in (HEAD, PROBE)}  # fmt: skip
    assert [points[whose, 3] for whose in (HEAD, PROBE)] == pytest.approx(list(means.values()), abs=1e-4)
    assert "1 method without a probe" in chart.note


def test_without_kept_predictions_there_is_a_mean_alone(tmp_path: Path) -> None:
    """As in runs whose probe was measured before its predictions were kept."""
    for seed in SEEDS:
        make_probed(tmp_path / str(seed), seed, kept=seed > 0)
    row = ranked(tmp_path)
    assert row.probe_accuracy is not None and row.probe_gain is not None
    assert row.probe_accuracy.low is None and row.probe_gain.low is None and row.accuracy.low is not None


def test_the_case_is_the_group_and_classes_are_matched_by_name(tmp_path: Path) -> None:
    groups = [f"sequence {number // 6}" for number in range(60)]
    for seed in SEEDS:
        make_probed(tmp_path / str(seed), seed, groups=groups, order=[2, 0, 1] if seed == 1 else None)
    correct = []
    for seed in SEEDS:
        with np.load(tmp_path / str(seed) / "predictions.npz") as file:
            correct.append(file["probe_predicted"][-1] == file["label"])
    expected, found = accuracy_interval(np.stack(correct), groups=groups), ranked(tmp_path).probe_accuracy
    assert found is not None and (found.low, found.high) == pytest.approx((expected.low, expected.high))
