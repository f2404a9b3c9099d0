"""What methods are called: as little as tells them apart."""

from pathlib import Path
from typing import Any

import pytest
from run_maker import make_comparison, make_run

from lightning_vision.report.gather import gather
from lightning_vision.report.runs import Group


def group_of(folder: Path) -> Group:
    (group,) = gather([folder]).groups
    return group


def labels_of(folder: Path, *runs: dict[str, Any]) -> list[str]:
    """The labels of runs with these options, in their order."""
    for number, options in enumerate(runs):
        make_run(folder / str(number), **options)
    found = {run.path.name: run.method for run in group_of(folder).runs}
    return [found[str(number)] for number in range(len(runs))]


MOVE = "strategies.MoveToData"


@pytest.mark.parametrize(
    ("runs", "labels"),
    [
        ([{}, {"strategy": "strategies.EWC", "init_args": {"ewc_lambda": 1}}], ["HeadOnly", "EWC"]),
        ([{}, {"seed": 1}, {"seed": 2}], ["HeadOnly", "HeadOnly", "HeadOnly"]),
        # Written by a version before that had no such option.
        ([{}, {"seed": 1, "options": {"model.label_smoothing": 0.0}}], ["HeadOnly", "HeadOnly"]),
        # Before there were budgets, a run had none.
        (
            [{}, {"seed": 1, "options": {"budget": None}}, {"seed": 2, "options": {"budget": "steps=9"}}],
            ["HeadOnly", "HeadOnly", "HeadOnly budget=steps=9"],
        ),
        (
            [{"strategy": MOVE, "init_args": {"epsilon": e, "passes": 1}} for e in (0.01, 1e-6)],
            ["MoveToData epsilon=0.01", "MoveToData epsilon=1e-06"],
        ),
        (
            [{"strategy": MOVE, "init_args": {"epsilon": e}} for e in ([1e-6, 1e-5, 1e-4, 0.1], [0.5, 1.0])],
            ["MoveToData epsilon=1e-06..0.1 (4 values)", "MoveToData epsilon=0.5,1"],
        ),
        (
            [{"options": {"model.optimizer.init_args.lr": lr}} for lr in (0.001, 0.01)],
            ["HeadOnly optimizer.lr=0.001", "HeadOnly optimizer.lr=0.01"],
        ),
        (
            [{"options": {"data.init_args.image_size": size}} for size in (32, 64)],
            ["HeadOnly image_size=32", "HeadOnly image_size=64"],
        ),
        (
            [{"options": {"trainer.max_epochs": n}, "strategy": s} for s, n in (("a.X", 1), ("a.X", 2), ("a.Y", 2))],
            ["X max_epochs=1", "X max_epochs=2", "Y"],
        ),
        ([{"strategy": "strategies.EWC"}, {"strategy": "mine.EWC"}], ["strategies.EWC", "mine.EWC"]),
        ([{"strategy": "lightning_vision.learning.strategy.Strategy"}], ["FullFineTune"]),
        (
            [{"strategy": "s.Plugin", "init_args": {"plugin": p}} for p in ("avalanche.EWC", "avalanche.SI")],
            ["Plugin plugin=EWC", "Plugin plugin=SI"],
        ),
    ],
)
def test_labels(tmp_path: Path, runs: list[dict[str, Any]], labels: list[str]) -> None:
    assert labels_of(tmp_path, *runs) == labels


def test_options_that_change_together_are_named_once(tmp_path: Path) -> None:
    together = [
        {"options": {"model.optimizer.init_args.lr": lr, "trainer.max_epochs": n}} for lr, n in ((0.1, 1), (0.2, 2))
    ]
    first, second = labels_of(tmp_path, *together)
    assert len(first.split()) == len(second.split()) == 2


def test_crossed_options_are_both_named(tmp_path: Path) -> None:
    crossed = [
        {"options": {"model.optimizer.init_args.lr": lr, "trainer.max_epochs": n}} for lr in (0.1, 0.2) for n in (1, 2)
    ]
    labels = labels_of(tmp_path, *crossed)
    assert len(set(labels)) == 4
    assert all("optimizer.lr=" in label and "max_epochs=" in label for label in labels)


def test_paths_names_and_loggers_make_no_method(tmp_path: Path) -> None:
    elsewhere = {
        "trainer.default_root_dir": "/elsewhere", "wandb.group": "g", "data.init_args.root": "/other",
        "data.init_args.num_workers": 3, "model.base_checkpoint": "/b/checkpoints/x.ckpt",
    }  # fmt: skip
    assert labels_of(tmp_path, {}, {"seed": 1, "options": elsewhere}) == ["HeadOnly", "HeadOnly"]


def test_a_seed_of_its_own_makes_a_method_only_beside_another_of_one_seed(tmp_path: Path) -> None:
    key = "data.init_args.stream.init_args.seed"
    assert labels_of(tmp_path / "a", {"options": {key: 7}}, {"seed": 1, "options": {key: 8}}) == ["HeadOnly"] * 2
    assert labels_of(tmp_path / "b", {"options": {key: 7}}, {"options": {key: 8}}) == [
        "HeadOnly stream.seed=7",
        "HeadOnly stream.seed=8",
    ]


def test_runs_beside_their_comparison_join_its_methods(tmp_path: Path) -> None:
    make_comparison(tmp_path / "c", {"HeadOnly": {0: 0.6, 1: 0.7}})
    make_run(tmp_path / "more", seed=2)
    (method,) = group_of(tmp_path).methods
    assert (method.label, [run.seed for run in method.runs]) == ("HeadOnly", [0, 1, 2])


def test_a_comparisons_own_labels_stay(tmp_path: Path) -> None:
    folder = make_comparison(tmp_path / "c", {"HeadOnly": {0: 0.6}, "EWC": {0: 0.7}})
    file = folder / "comparison.json"
    file.write_text(file.read_text().replace('"method": "EWC"', '"method": "EWC, strong"'))
    assert [method.label for method in group_of(folder).methods] == ["EWC, strong", "HeadOnly"]


def test_methods_that_differ_by_label_alone_stay_apart(tmp_path: Path) -> None:
    """Two names for one configuration: such as an axis over paths."""
    folder = make_comparison(tmp_path / "c", {"HeadOnly": {0: 0.6}, "EWC": {0: 0.7}})
    run = folder / "runs" / "EWC-seed=0"
    make_run(run, [0.5, 0.6, 0.7], seed=0)
    assert {method.label for method in group_of(folder).methods} == {"HeadOnly", "EWC"}


def test_two_comparisons_with_one_name_for_two_settings(tmp_path: Path) -> None:
    make_comparison(tmp_path / "a", {"EWC": {0: 0.6}}, init_args={"ewc_lambda": 1})
    make_comparison(tmp_path / "b", {"EWC": {0: 0.7}}, init_args={"ewc_lambda": 100})
    assert {method.label for method in group_of(tmp_path).methods} == {"EWC ewc_lambda=1", "EWC ewc_lambda=100"}


def test_a_run_without_config_is_known_by_its_strategy(tmp_path: Path) -> None:
    make_run(tmp_path / "a", options={"trainer.max_epochs": 9})
    (make_run(tmp_path / "b", seed=1, strategy="strategies.EWC") / "config.yaml").unlink()
    group = group_of(tmp_path)
    assert {method.label for method in group.methods} == {"HeadOnly", "EWC"}
    assert any("b: it has no config.yaml" in remark for remark in group.remarks)


def test_what_differs_beside_the_strategy_is_remarked(tmp_path: Path) -> None:
    labels_of(tmp_path, {"options": {"trainer.max_epochs": 1}}, {"strategy": "strategies.EWC"})
    (remark,) = group_of(tmp_path).remarks
    assert (
        remark
        == "The methods differ in other options than those of the learning strategy: max_epochs (2 for EWC; 1 for HeadOnly)."
    )


def test_long_and_odd_values_are_cut_and_stay_different(tmp_path: Path) -> None:
    odd = [{"init_args": {"text": text}} for text in ("a" * 5000 + "\n\x1b[31mred", "a" * 5000 + "\n\x1b[31mblue", "a" * 9000)]  # fmt: skip
    labels = labels_of(tmp_path, *odd)
    assert len(set(labels)) == 3
    assert all(len(label) <= 90 and label.isprintable() for label in labels)
