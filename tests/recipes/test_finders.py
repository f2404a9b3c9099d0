"""A run with what a finder found is, bit for bit, a run that was given it: the trial left no trace."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest
import torch
from command_line import fit, start, weights_of
from torch import Tensor

from lightning_vision import Batch, Network, Strategy
from lightning_vision.errors import ConfigError
from lightning_vision.learning.recipe import Moment
from lightning_vision.recipes import BatchSizeFinder, LearningRateFinder
from lightning_vision.recipes.finders import steepest_descent
from lightning_vision.results.schema import read_results

# Dropout, batch norm, augmentation, a strategy with buffers that each step moves.
COMMON = (
    "--model.strategy=SynapticIntelligence",
    "--model.backbone=test_byobnet",
    "--model.drop_rate=0.2",
    "--data.noise=90",
    "--data.batch_size=8",
    "--data.stream.experiences=2",
    "--trainer.max_epochs=2",
    "--model.optimizer=SGD",
    "--model.optimizer.momentum=0.9",
    "--model.restore_best=false",
)
RATE = ("--trainer.callbacks=lightning_vision.recipes.LearningRateFinder", "--trainer.callbacks.steps=24")
SIZE = ("--trainer.callbacks=lightning_vision.recipes.BatchSizeFinder", "--trainer.callbacks.steps=1")


def same(one: Path, other: Path, experience: int | None = None) -> bool:
    mine, others = weights_of(one, experience), weights_of(other, experience)
    return mine.keys() == others.keys() and all(torch.equal(mine[key], others[key]) for key in mine)


def test_the_steepest_descent_by_hand() -> None:
    rates = [10.0**power for power in range(-6, 1)]
    losses = [9.0, 2.30, 2.29, 2.2, 1.6, 1.5, math.nan]
    # Over powers of ten, from the second on: -0.01, (2.2 - 2.3) / 2, (1.6 - 2.29) / 2, (1.5 - 2.2) / 2, -0.1.
    assert steepest_descent(rates, losses, skip_first=1) == rates[4]
    assert steepest_descent(rates[:3], losses[:3], skip_first=2) is None
    assert steepest_descent(rates, [*sorted(losses[:6]), math.nan], skip_first=0) is None, "it falls nowhere"
    # A step of half a unit at 0.01, over rates that grow as in a trial.
    rates = [10 ** (-6 + 6 * step / 99) for step in range(100)]
    losses = [2.3 - 0.5 / (1 + math.exp(-4 * (math.log10(rate) + 2))) for rate in rates]
    assert steepest_descent(rates, losses) == pytest.approx(1e-2, rel=0.1)


def test_a_rate_that_was_found_is_used_and_all_else_is_as_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (*COMMON, "--keep_checkpoints=all")
    found = fit(tmp_path, "found", *options, *RATE, "--model.optimizer.lr=1.0")
    first, second = (record.learning_rate for record in read_results(found / "results.json").experiences)
    assert first is not None and second is not None and 1e-6 < first != second < 1
    assert f"LearningRateFinder, experience 0: a learning rate of {first:.3g}." in capsys.readouterr().err
    base = ("--model.base_optimizer=SGD", "--model.base_optimizer.momentum=0.9", f"--model.base_optimizer.lr={first!r}")
    given = fit(tmp_path, "given", *options, *base, f"--model.optimizer.lr={second!r}")
    assert same(found, given, 0) and same(found, given)


class NotedSGD(torch.optim.SGD):
    """Writes down the rates that a step is made with."""

    rates: ClassVar[list[list[float]]] = []

    def step(self, closure: Any = None) -> Any:
        self.rates.append([group["lr"] for group in self.param_groups])
        return super().step(closure)


GROUPS = (
    "--model.strategy=FullFineTune",
    "--model.strategy.backbone_lr=0.1",
    "--model.optimizer=test_finders.NotedSGD",
    "--model.optimizer.lr=0.5",
    "--data.stream=Joint",
)


def test_groups_keep_their_proportions_in_the_trial_and_after_it(tmp_path: Path) -> None:
    """Lightning would give all of them the same rate."""
    NotedSGD.rates.clear()
    decay = ("--trainer.callbacks+=lightning_vision.recipes.LayerDecay", "--trainer.callbacks.decay=0.5")
    run = fit(tmp_path, "run", *GROUPS, *RATE, "--trainer.callbacks.lowest=1e-4", *decay)
    rate = read_results(run / "results.json").experiences[0].learning_rate
    assert rate is not None
    trial, training = NotedSGD.rates[:24], NotedSGD.rates[24:]
    # The backbone's layers, the nearest to the head first, then the head; the rate is that of a group before its decay.
    shares = [*(0.5**away for away in range(1, len(trial[0]))), 5.0]
    assert len(shares) > 3 and training
    for step, rates in enumerate(trial):
        assert rates == pytest.approx([1e-4 * 10 ** (4 * step / 24) * share for share in shares], rel=0.5)
        assert [each / rates[0] for each in rates] == pytest.approx([share / shares[0] for share in shares])
    for rates in training:
        assert rates == pytest.approx([rate * share for share in shares])


def test_a_group_without_a_rate_keeps_none(tmp_path: Path) -> None:
    """The first group that has a rate is given the one that is found."""
    NotedSGD.rates.clear()
    run = fit(tmp_path, "run", *GROUPS, *RATE, "--model.strategy.backbone_lr=0", "--trainer.max_epochs=1")
    rate = read_results(run / "results.json").experiences[0].learning_rate
    trial, training = NotedSGD.rates[:24], NotedSGD.rates[24:]
    assert rate is not None and training and all(rates == [0.0, pytest.approx(rate)] for rates in training)
    assert [rates[0] for rates in trial] == [0.0] * 24 and 0 < trial[0][1] < trial[-1][1]


def test_a_trial_whose_loss_stops_being_a_number_is_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = (
        "--model.optimizer=SGD",
        "--model.optimizer.lr=0.125",
        "--data.stream=Joint",
        "--model.strategy=test_finders.Fragile",
    )
    run = fit(tmp_path, "wide", *RATE, *wide, "--trainer.callbacks.highest=1000")
    rate = read_results(run / "results.json").experiences[0].learning_rate
    assert rate is not None and 1e-6 < rate < 100, "a thousand was reached in no trial"
    none = fit(tmp_path, "none", *RATE, *wide, "--trainer.callbacks.lowest=900", "--trainer.callbacks.highest=1000")
    assert read_results(none / "results.json").experiences[0].learning_rate is None
    said = "LearningRateFinder: no suitable learning rate between 900 and 1000; the optimizer's own is used."
    assert said.replace(":", ", experience 0:", 1) in capsys.readouterr().err


class Fragile(Strategy):
    """Its loss is no number once the head has moved far in one step."""

    former: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("former", None)

    def loss(self, network: Network, batch: Batch) -> Tensor:
        now = network.classifier.weight.detach().clone()
        far = self.former is not None and float((now - self.former).abs().max()) > 1
        self.former = now
        return super().loss(network, batch) * (torch.nan if far else 1.0)


class Hungry(Strategy):
    """Has memory for some images, on any device."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def loss(self, network: Network, batch: Batch) -> Tensor:
        if len(batch["label"]) > self.most:
            raise RuntimeError("CUDA out of memory. Tried to allocate more than there is.")
        return super().loss(network, batch)


@pytest.mark.parametrize(
    ("first", "most", "mode", "largest", "size"),
    [
        (4, 64, "power", 16, 16),
        (4, 20, "power", 1024, 16),
        (4, 20, "binsearch", 1024, 19),  # 20 fits; less five per cent
        (8, 3, "power", 1024, 2),
    ],
)
def test_the_largest_batch_that_fits(
    tmp_path: Path, first: int, most: int, mode: str, largest: int, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--data.stream=Joint", "--model.strategy=test_finders.Hungry", f"--model.strategy.most={most}")
    search = (*SIZE, f"--trainer.callbacks.mode={mode}", f"--trainer.callbacks.largest={largest}")
    run = fit(tmp_path, "run", *options, *search, f"--data.batch_size={first}")
    results = read_results(run / "results.json")
    assert results.experiences[0].batch_size == size
    assert cast(Any, results.run.data)["init_args"]["batch_size"] == first
    assert f"BatchSizeFinder, experience 0: {size} images per batch." in capsys.readouterr().err
    if (first, most, mode) == (4, 20, "power"):
        assert same(run, fit(tmp_path, "given", *options, f"--data.batch_size={size}"))


def test_both_on_the_features_of_a_frozen_backbone(tmp_path: Path) -> None:
    learner = (
        "--model.strategy=HeadOnly",
        "--data.views=0",
        "--data.stream=Joint",
        "--model.optimizer=SGD",
        "--model.optimizer.lr=1.0",
    )
    both = (
        "--trainer.callbacks+=lightning_vision.recipes.LearningRateFinder",
        "--trainer.callbacks.steps=24",
        "--trainer.callbacks.lowest=1e-3",
        "--trainer.callbacks.highest=10",
    )
    run = fit(tmp_path, "run", *learner, *SIZE, *both)
    record = read_results(run / "results.json").experiences[0]
    assert record.batch_size == 32 and record.learning_rate is not None
    given = fit(tmp_path, "given", *learner, "--data.batch_size=32", f"--model.optimizer.lr={record.learning_rate!r}")
    assert same(run, given)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: LearningRateFinder(lowest=0.1, highest=0.01), "expected 0 < lowest < highest, found 0.1 and 0.01"),
        (lambda: LearningRateFinder(steps=5), "LearningRateFinder.steps: expected at least 20, found 5"),
        (lambda: BatchSizeFinder(steps=0), "BatchSizeFinder.steps: expected at least 1, found 0"),
        (lambda: BatchSizeFinder(largest=0), "BatchSizeFinder.largest: expected at least 1, found 0"),
    ],
)
def test_impossible_options(made: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        made()


def test_a_largest_size_below_the_batch_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(tmp_path, "run", *SIZE, "--trainer.callbacks.largest=8", "--data.batch_size=16") == 2
    assert "BatchSizeFinder.largest: expected at least data.batch_size, 16, found 8." in capsys.readouterr().err


@pytest.mark.parametrize("recipe", [LearningRateFinder(), BatchSizeFinder()])
def test_several_processes_are_refused(recipe: LearningRateFinder | BatchSizeFinder) -> None:
    moment = cast(Moment, SimpleNamespace(model=None, datamodule=None, resumed=False, world_size=2))
    with pytest.raises(
        ConfigError, match=f"{type(recipe).__name__} needs one process, found 2. Run it with trainer.devices=1"
    ):
        recipe.before_stage(moment)
