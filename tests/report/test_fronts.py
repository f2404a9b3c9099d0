"""Accuracy against cost, by hand."""

from pathlib import Path

import pytest
from run_maker import make_comparison, make_run

from lightning_vision.report.fronts import FrontPoint, base_accuracies, front_points, pareto
from lightning_vision.report.gather import gather


def test_the_front_by_hand() -> None:
    #         beaten by 3   on it   tie of 1   on it   free   beaten by 3, as good but dearer
    costs = [10.0, 5.0, 5.0, 8.0, 0.0, 9.0]
    accuracies = [0.80, 0.70, 0.70, 0.90, 0.50, 0.90]
    assert pareto(costs, accuracies).tolist() == [False, True, True, True, True, False]


def test_as_good_and_cheaper_beats_and_one_point_is_a_front() -> None:
    assert pareto([1.0, 2.0], [0.5, 0.5]).tolist() == [True, False]
    assert pareto([1.0, 1.0], [0.5, 0.6]).tolist() == [False, True]
    assert pareto([3.0], [0.1]).tolist() == [True]
    assert pareto([], []).tolist() == []


def test_the_points_of_a_group_hold_retrain_and_the_base(tmp_path: Path) -> None:
    folder = make_comparison(tmp_path / "c", {"HeadOnly": {0: 0.6, 1: 0.7}, "Retrain": {0: 0.8, 1: 0.8}})
    make_run(tmp_path / "c" / "runs" / "slow", [0.5, 0.6, 0.65], strategy="strategies.EWC", seconds=100, energy=None)
    (group,) = gather([folder]).groups
    points = {point.label: point for point in front_points(group.methods, group.bases, "time")}
    assert points["Retrain"] == FrontPoint("Retrain", "retrain", pytest.approx(0.8), pytest.approx(4.0), True)  # type: ignore[arg-type]
    assert points["HeadOnly"] == FrontPoint("HeadOnly", "method", pytest.approx(0.65), pytest.approx(4.0), False)  # type: ignore[arg-type]
    assert points["EWC"].cost == pytest.approx(200) and not points["EWC"].on_front
    assert points["Base"] == FrontPoint("Base", "base", 0.5, 0.0, True)
    assert points["Base"].is_free and not points["Retrain"].is_free
    assert {point.label for point in front_points(group.methods, group.bases, "energy")} == {
        "HeadOnly",
        "Retrain",
        "Base",
    }  # EWC's is unknown


def test_without_runs_of_the_base_the_first_experience_stands_for_it(tmp_path: Path) -> None:
    make_run(tmp_path / "a", [0.5, 0.6], seed=0)
    make_run(tmp_path / "b", [0.4, 0.6], seed=0, strategy="strategies.EWC")
    make_run(tmp_path / "c", [0.3, 0.6], seed=1)
    (group,) = gather([tmp_path]).groups
    assert base_accuracies(group.methods, group.bases) == pytest.approx({0: 0.45, 1: 0.3})
