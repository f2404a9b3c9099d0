"""Folds of one cross-validation repeat a method; other splits do not."""

from pathlib import Path
from typing import Any

from run_maker import make_run

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
        pictures_from=f"fold {fold}",
    )


def test_folds_repeat_a_method(tmp_path: Path) -> None:
    for fold, (one, other) in enumerate([(0.9, 0.5), (0.8, 0.4), (0.95, 0.5)]):
        folded(tmp_path, "head", "strategies.HeadOnly", fold, one)
        folded(tmp_path, "full", "strategies.FullFineTune", fold, other)
    (group,) = gather([tmp_path]).groups
    assert [row.label for row in group.ranking.methods] == ["HeadOnly", "FullFineTune"]
    assert [row.seeds for row in group.ranking.methods] == [[0, 1, 2]] * 2
    assert group.ranking.methods[1].p_value is not None
    assert any(remark.startswith("Cross-validation") for remark in group.remarks)


def test_with_several_seeds_each_fold_of_each_counts(tmp_path: Path) -> None:
    for seed in (0, 1):
        for fold in range(3):
            folded(tmp_path, "head", "strategies.HeadOnly", fold, 0.8, seed)
    (group,) = gather([tmp_path]).groups
    assert [run.seed for run in group.runs] == [0, 1, 2, 3, 4, 5]


def test_other_splits_are_no_folds(tmp_path: Path) -> None:
    make_run(tmp_path / "a", options={"data.init_args.split": "70/30"})
    make_run(tmp_path / "b", options={"data.init_args.split": {"train": "a", "test": "b"}})
    make_run(tmp_path / "c", options={"data.init_args.split": {"folds": 3, "fold": 3}})
    for group in gather([tmp_path]).groups:
        assert all(fold_of(run.results) is None for run in group.runs)
