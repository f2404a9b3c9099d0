"""Folds of one cross-validation repeat a method; other splits do not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_maker import make_run
from scipy import stats

from lightning_vision.report.folds import fold_of
from lightning_vision.report.gather import gather


def folded(folder: Path, name: str, strategy: str, fold: int, accuracy: float, seed: int = 0) -> None:
    split: dict[str, Any] = {"folds": 3, "fold": fold}
    options = {"data.init_args.split": split}
    place = folder / f"{name}-{fold}-{seed}"
    make_run(
        place,
        (accuracy,),
        strategy=strategy,
        scenario="Joint",
        seed=seed,
        options=options,
        images_from=f"fold {fold}",
    )


def test_folds_repeat_a_method(tmp_path: Path) -> None:
    for fold, (one, other) in enumerate([(0.9, 0.5), (0.8, 0.4), (0.95, 0.5)]):
        folded(tmp_path, "head", "strategies.HeadOnly", fold, one)
        folded(tmp_path, "full", "strategies.FullFineTune", fold, other)
    (group,) = gather([tmp_path]).groups
    assert [row.label for row in group.ranking.methods] == ["HeadOnly", "FullFineTune"]
    assert [row.seeds for row in group.ranking.methods] == [[0, 1, 2]] * 2
    best, second = group.ranking.methods
    # By hand, after Nadeau and Bengio: 60 test images, 40 training images, so 1/3 + 60/40 in place of 1/3.
    values = np.array([0.54, 0.48, 0.57]) / 0.6
    half = stats.t.ppf(0.975, 2) * values.std(ddof=1) * (1 / 3 + 60 / 40) ** 0.5
    found = best.accuracy
    assert (found.mean, found.low, found.high) == pytest.approx(
        (values.mean(), values.mean() - half, values.mean() + half)
    )
    differences = np.array([0.5 - 0.9, 0.4 - 0.8, 0.5 - 0.95])
    t = differences.mean() / (differences.std(ddof=1) * (1 / 3 + 60 / 40) ** 0.5)
    assert second.p_value == second.p_holm == pytest.approx(2 * stats.t.sf(abs(t), 2))
    assert (second.test, second.verdict) == ("folds", "significant")
    assert any(remark.startswith("Cross-validation") for remark in group.remarks)


def test_with_several_seeds_each_fold_of_each_counts(tmp_path: Path) -> None:
    for seed in (0, 1):
        for fold in range(3):
            folded(tmp_path, "head", "strategies.HeadOnly", fold, 0.8, seed)
    (group,) = gather([tmp_path]).groups
    assert [run.seed for run in group.runs] == [0, 1, 2, 3, 4, 5]


def test_the_seeds_of_a_fold_are_averaged_first(tmp_path: Path) -> None:
    """Twice as many seeds are no twice as many folds."""
    accuracies = [(0.9, 0.5), (0.8, 0.6), (0.95, 0.45)]
    for seeds in (1, 2):
        for fold, (one, other) in enumerate(accuracies):
            for seed in range(seeds):
                folded(tmp_path / str(seeds), "head", "strategies.HeadOnly", fold, one, seed)
                folded(tmp_path / str(seeds), "full", "strategies.FullFineTune", fold, other, seed)
    once, twice = (gather([tmp_path / str(seeds)]).groups[0].ranking.methods for seeds in (1, 2))
    assert once[1].p_value == pytest.approx(twice[1].p_value)
    assert once[0].accuracy == twice[0].accuracy


def test_under_three_folds_it_cannot_tell(tmp_path: Path) -> None:
    for fold, (one, other) in enumerate([(0.9, 0.5), (0.8, 0.6)]):
        folded(tmp_path, "head", "strategies.HeadOnly", fold, one)
        folded(tmp_path, "full", "strategies.FullFineTune", fold, other)
    (group,) = gather([tmp_path]).groups
    row = group.ranking.methods[1]
    assert (row.verdict, row.why, row.p_holm) == ("not tested", "fewer than 3 common folds", None)
    assert row.difference is not None and row.difference.low is not None


def test_other_splits_are_no_folds(tmp_path: Path) -> None:
    make_run(tmp_path / "a", options={"data.init_args.split": "70/30"})
    make_run(tmp_path / "b", options={"data.init_args.split": {"train": "a", "test": "b"}})
    make_run(tmp_path / "c", options={"data.init_args.split": {"folds": 3, "fold": 3}})
    for group in gather([tmp_path]).groups:
        assert all(fold_of(run.results) is None for run in group.runs)
