"""The share of the gap between fine-tuning and joint training: the ratio, Fieller's interval, and where it is not defined."""

import math
from pathlib import Path

import numpy as np
import pytest
from run_maker import make_comparison, make_run
from scipy import stats

from lightning_vision.report.bounds import share_of_gap
from lightning_vision.report.gather import gather
from lightning_vision.report.proportion import Interval
from lightning_vision.report.runs import RankedMethod


def by_label(folder: Path) -> dict[str, RankedMethod]:
    (group,) = gather([folder]).groups
    return {row.label: row for row in group.ranking.methods}


def t_interval(values: np.ndarray) -> Interval:
    mean, half = float(values.mean()), float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return Interval(mean, mean - half, mean + half)


def test_fieller_interval_is_that_of_the_quadratic() -> None:
    """Both ends solve mean(w - g d)^2 = t^2 var(w - g d) / k, which is a quadratic equation in g."""
    won, gap = np.array([0.10, 0.14, 0.11, 0.16]), np.array([0.30, 0.33, 0.26, 0.35])
    found = share_of_gap(won, gap, t_interval)
    t2 = stats.t.ppf(0.975, 3) ** 2 / 4
    s = np.cov(won, gap)
    a = gap.mean() ** 2 - t2 * s[1, 1]
    b = -2 * (won.mean() * gap.mean() - t2 * s[0, 1])
    c = won.mean() ** 2 - t2 * s[0, 0]
    root = math.sqrt(b * b - 4 * a * c)
    assert found.share is not None and found.why == ""
    assert found.share.mean == pytest.approx(won.mean() / gap.mean())
    assert [found.share.low, found.share.high] == pytest.approx(
        [(-b - root) / (2 * a), (-b + root) / (2 * a)], abs=2e-4
    )


def test_a_gap_that_is_not_clear_has_no_shares() -> None:
    found = share_of_gap(np.array([0.1, 0.2, 0.1]), np.array([0.1, -0.2, 0.2]), t_interval)
    assert found.share is None and "3.3 points" in found.why and "is not clearly above 0" in found.why
    still = share_of_gap(np.array([0.1, 0.1]), np.array([0.2, 0.2]), lambda v: Interval(float(v.mean()), None, None))
    assert still.share is None and "spread" in still.why


def test_shares_of_a_comparison(tmp_path: Path) -> None:
    accuracies = {
        "FullFineTune": {0: 0.40, 1: 0.42, 2: 0.41},
        "EWC": {0: 0.61, 1: 0.60, 2: 0.62},
        "Retrain": {0: 0.80, 1: 0.82, 2: 0.81},
    }
    make_comparison(tmp_path / "c", accuracies, images=300)
    rows = by_label(tmp_path / "c")
    assert [rows[name].gap.bound for name in ("FullFineTune", "EWC", "Retrain")] == ["lower", "", "upper"]
    share = rows["EWC"].gap.share
    assert share is not None and share.low is not None and share.high is not None
    assert share.mean == pytest.approx(0.5, abs=0.02) and 0.3 < share.low < share.mean < share.high < 0.7
    learning = rows["EWC"].learning_accuracy
    assert learning is not None and learning.low is not None and learning.low < learning.mean
    (group,) = gather([tmp_path / "c"]).groups
    assert group.ranking.bounds == ["Lower bound FullFineTune, upper bound Retrain."]
    mean = np.mean([np.mean([r[i] for i, r in enumerate(run.results.accuracy_matrix)]) for run in group.methods[1].complete])  # fmt: skip
    assert learning.mean == pytest.approx(mean)


def test_without_bounds_the_option_that_adds_them_is_named(tmp_path: Path) -> None:
    for seed in range(2):
        make_run(tmp_path / f"a{seed}", strategy="strategies.EWC", seed=seed)
        make_run(tmp_path / f"b{seed}", strategy="strategies.Retrain", seed=seed)
    (group,) = gather([tmp_path]).groups
    (words,) = group.ranking.bounds
    assert "no lower bound (no complete run of FullFineTune)" in words and "--bounds true" in words
    assert all(row.gap.share is None for row in group.ranking.methods)


def test_of_several_with_other_options_the_plain_one_is_the_bound(tmp_path: Path) -> None:
    make_comparison(tmp_path / "c", {"FullFineTune": {0: 0.4}, "Retrain": {0: 0.9}, "EWC": {0: 0.6}}, images=300)
    make_run(tmp_path / "r", [0.5, 0.6, 0.7], strategy="strategies.Retrain", init_args={"start": "base"}, images=300)
    (group,) = gather([tmp_path]).groups
    assert "2" not in group.ranking.bounds[0] and "Retrain" in group.ranking.bounds[0]


def test_an_upper_bound_that_learned_an_online_stream_offline_is_named_as_such(tmp_path: Path) -> None:
    online = {"anytime_accuracy": [0.4, None], "average_anytime_accuracy": 0.4, "anytime_every": 20}
    make_run(tmp_path / "lower", [0.5, 0.5], strategy="strategies.FullFineTune", changes=online)
    make_run(tmp_path / "upper", [0.5, 0.9], strategy="strategies.Retrain")
    (group,) = gather([tmp_path]).groups
    assert group.ranking.bounds == ["Lower bound FullFineTune, upper bound Retrain, which learned offline."]
