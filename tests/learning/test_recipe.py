"""Recipes: their stages, groups and images, for any gradient strategy."""

from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import changed, fit, start, weights_of
from tiny_network import tiny_network
from torch import nn
from trial_recipes import RatesSeen, Watching

from lightning_vision.data.batch_order import TrainBatches
from lightning_vision.learning.stage import Stage
from lightning_vision.learning.strategy import grouped
from lightning_vision.results.schema import read_results


def listed(*names: str) -> str:
    return f"--trainer.callbacks=[{', '.join(f'{{class_path: trial_recipes.{name}}}' for name in names)}]"


@pytest.fixture(autouse=True)
def forget() -> None:
    Watching.seen.clear()
    RatesSeen.seen.clear()


def test_a_recipe_stands_for_the_whole_run_and_hears_of_each_stage(tmp_path: Path) -> None:
    run = fit(
        tmp_path,
        "watched",
        listed("Watching", "HeadAtTheEnd"),
        "--model.strategy=FullFineTune",
        "--data.stream.experiences=2",
    )
    calls = [watching.calls for watching in Watching.seen if watching.calls]
    stages = ["all", "1 epochs", "head at the end", "1 epochs"]
    expected = [f"{t}: {words}" if "epochs" not in words else words for t in (0, 1) for words in [*stages, "over"]]
    assert calls == [expected]
    results = read_results(run / "results.json")
    assert [record.epochs for record in results.experiences] == [2, 2]
    assert "watched 5" in results.notes and "watched 10" in results.notes


def test_what_a_recipe_leaves_out_is_not_trained(tmp_path: Path) -> None:
    plain = fit(tmp_path, "plain", "--model.strategy=FullFineTune")
    run = fit(tmp_path, "recipe", listed("HeadAtTheEnd"), "--model.strategy=FullFineTune", "--model.restore_best=false")
    before, after = weights_of(plain, 0), weights_of(run, 0)
    assert changed(before, after) == {"network.head.weight", "network.head.bias"}


def test_a_stage_of_a_recipe_resumes(tmp_path: Path) -> None:
    options = (listed("Watching", "HeadAtTheEnd"), "--model.strategy=FullFineTune", "--trainer.max_epochs=2")
    whole = fit(tmp_path, "whole", *options)
    fit(tmp_path, "parted", *options, "--stop_after=1")
    parted = fit(tmp_path, "parted", *options, "--ckpt_path=last")
    assert not changed(weights_of(whole), weights_of(parted))
    calls = [watching.calls for watching in Watching.seen if watching.calls]
    assert calls[0] == [*calls[1], *calls[2]]


def test_learning_rates_are_scaled_by_group_and_replaced_by_what_was_found(tmp_path: Path) -> None:
    run = fit(
        tmp_path, "rates", listed("SlowBackbone", "FoundRate", "RatesSeen"), "--model.strategy=FullFineTune",
        "--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=0.1", "--data.stream.experiences=2",
    )  # fmt: skip
    assert RatesSeen.seen == [pytest.approx([0.01, 0.05]), pytest.approx([0.002, 0.01])]
    experiences = read_results(run / "results.json").experiences
    assert [record.learning_rate for record in experiences] == [None, 0.02]
    assert experiences[1].batch_size == 4


def test_a_closed_form_takes_no_recipe(tmp_path: Path) -> None:
    plain = fit(tmp_path, "plain", "--model.strategy=NearestMean", "--model.base_strategy=HeadOnly")
    run = fit(
        tmp_path, "recipe", listed("HeadAtTheEnd"), "--model.strategy=NearestMean", "--model.base_strategy=HeadOnly",
        "--stop_after=0",
    )  # fmt: skip
    assert read_results(run / "results.json").experiences[0].epochs == 2 + 1  # base, its recipe, the closed form's pass
    assert read_results(plain / "results.json").experiences[1].epochs == 1


def test_a_recipe_may_look_at_more_of_each_image(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, "mirrored", listed("Mirrored"), "--model.strategy=HeadOnly", "--data.views=0", "--stop_after=1")
    assert "each image is evaluated in several views" in capfd.readouterr().out


def test_a_recipe_listed_twice_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert start(tmp_path, "twice", listed("Watching", "Watching")) == 2
    assert "expected each recipe once, found Watching twice" in capfd.readouterr().err
    assert not (tmp_path / "twice").exists()


def test_rows_may_be_chosen_and_shown_without_augmentation() -> None:
    rows = np.arange(10)
    batches = TrainBatches(rows, np.zeros(10, dtype=np.int64), 5, seed=1)
    plain = {draw.index: draw.seed for batch in batches for draw in batch}
    batches.choose = lambda rows, generator: np.where(rows < 5, 7, rows)
    chosen = [draw for batch in batches for draw in batch]
    assert sorted(draw.index for draw in chosen) == [5, 6, 7, 7, 7, 7, 7, 7, 8, 9]
    assert len({draw.seed for draw in chosen}) == 10  # one that is there again is augmented anew
    without = TrainBatches(rows, np.zeros(10, dtype=np.int64), 5, seed=1, augment=False)
    draws = [draw for batch in without for draw in batch]
    assert {draw.seed for draw in draws} == {-1} and [draw.index for draw in draws] == list(plain)


def test_single_parameters_make_one_group() -> None:
    first, second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(1))
    assert grouped([first, second]) == [{"params": [first, second]}]
    groups = [{"params": [first], "lr": 0.1}, {"params": [second]}]
    assert grouped(groups) == groups


def test_a_stage_is_named_by_its_parts() -> None:
    assert [stage.title for stage in (Stage(), Stage("probe"), Stage("", "fix"), Stage("probe", "fix"))] == [
        "", "probe", "fix", "probe, fix",
    ]  # fmt: skip


def test_smoothing_is_off_unless_asked_for() -> None:
    assert tiny_network().label_smoothing == 0
