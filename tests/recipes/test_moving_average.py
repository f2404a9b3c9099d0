"""The average, step by step in float64; what is validated, saved and resumed."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from command_line import changed, fit, weights_of
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_vision.errors import ConfigError
from lightning_vision.recipes import MovingAverage

AVERAGE = ("--trainer.callbacks=lightning_vision.recipes.MovingAverage",)
WITNESS = "--trainer.callbacks+=test_moving_average.Witness"
OPTIONS = (
    "--data.stream=Joint",
    "--data.batch_size=8",
    "--data.noise=90",
    "--trainer.max_epochs=2",
    "--model.restore_best=false",
)


class Witness(Callback):
    """Writes down the network after each step, and during validation."""

    trained: ClassVar[list[dict[str, Tensor]]] = []
    validated: ClassVar[list[tuple[int, dict[str, Tensor]]]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, _: int
    ) -> None:
        self.trained.append(state_of(pl_module))

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if batch_idx == 0:
            self.validated.append((trainer.global_step, state_of(pl_module)))


def state_of(module: LightningModule) -> dict[str, Tensor]:
    parts = ("network.", "strategy.shift")
    return {name: value.clone() for name, value in module.state_dict().items() if name.startswith(parts)}


def by_hand(states: list[dict[str, Tensor]], decay: float, warmup: bool) -> dict[str, Tensor]:
    """m <- d m + (1 - d) w, beginning with m = w after the first step; whole numbers are those of the last step."""
    average = {name: value.double() for name, value in states[0].items()}
    for step, state in enumerate(states[1:], start=2):
        d = min(decay, 1 - step ** (-2 / 3)) if warmup else decay
        for name, value in state.items():
            average[name] = (
                d * average[name] + (1 - d) * value.double() if value.is_floating_point() else value.double()
            )
    return average


def check_near(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(found[name].double(), value, rtol=1e-5, atol=1e-6, msg=name)


def test_the_average_by_hand_and_training_beside_it(tmp_path: Path) -> None:
    own = "--model.strategy=trial_strategies.Shifted"
    plain = weights_of(fit(tmp_path, "plain", *OPTIONS, own))
    Witness.trained.clear()
    Witness.validated.clear()
    options = ("--trainer.callbacks.decay=0.9", "--trainer.callbacks.warmup=false")
    end = weights_of(fit(tmp_path, "run", *OPTIONS, own, *AVERAGE, *options, WITNESS))
    assert len(Witness.trained) == 16
    expected = by_hand(Witness.trained, 0.9, warmup=False)
    assert any("running_mean" in name for name in expected)
    assert expected["strategy.shift"].abs().sum() > 0, "a parameter of the strategy's own is averaged too"
    check_near(end, expected)
    assert [step for step, _ in Witness.validated] == [8, 16]
    for step, state in Witness.validated:
        check_near(state, by_hand(Witness.trained[:step], 0.9, warmup=False))
    last = Witness.trained[-1]
    assert all(torch.equal(last[name], plain[name]) for name in last), "training continues as without an average"
    assert changed(end, plain)


def test_a_warm_up_and_batches_that_make_a_step_together(tmp_path: Path) -> None:
    Witness.trained.clear()
    options = ("--trainer.accumulate_grad_batches=4", "--trainer.callbacks.decay=0.5")
    end = weights_of(fit(tmp_path, "run", *OPTIONS, *AVERAGE, *options, WITNESS))
    # Running statistics move with each batch, and are averaged with the weights, after every fourth.
    check_near(end, by_hand(Witness.trained[3::4], 0.5, warmup=True))


def test_the_best_checkpoint_is_an_average(tmp_path: Path) -> None:
    Witness.trained.clear()
    best = ("--model.restore_best=true", "--trainer.callbacks.decay=0.5", "--trainer.max_epochs=3")
    end = weights_of(fit(tmp_path, "run", *OPTIONS, *AVERAGE, *best, WITNESS))
    each = [by_hand(Witness.trained[:steps], 0.5, warmup=True) for steps in (8, 16, 24)]
    near = [
        all(torch.allclose(end[name].double(), value, rtol=1e-5, atol=1e-6) for name, value in average.items())
        for average in each
    ]
    assert near.count(True) == 1


def test_what_is_frozen_stays_bit_for_bit(tmp_path: Path) -> None:
    run = fit(
        tmp_path, "run", *AVERAGE, "--model.strategy=trial_strategies.LastBlock", "--keep_checkpoints=all",
        "--data.stream.experiences=2", "--trainer.callbacks.decay=0.9",
    )  # fmt: skip
    base, end = weights_of(run, 0), weights_of(run)
    trained = {name for name in base if name.startswith(("network.backbone.layer4.", "network.head."))}
    assert changed(base, end) == trained


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_an_impossible_decay(decay: float) -> None:
    with pytest.raises(ConfigError, match=r"MovingAverage.decay: expected a number of at least 0 and below 1"):
        MovingAverage(decay)
