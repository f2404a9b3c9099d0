"""The learning rate of each epoch, computed by hand, for each group, and in a run."""

import math
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from command_line import fit, start
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from lightning_vision.errors import ConfigError
from lightning_vision.recipes import WarmupCosine


def optimizer(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def test_rates_by_hand_for_each_group() -> None:
    made = optimizer(1.0, 0.1)
    scheduler = WarmupCosine(made, epochs=6, warmup_epochs=2, floor=0.2)
    found = []
    for _ in range(8):
        found.append([group["lr"] for group in made.param_groups])
        made.step()
        scheduler.step()
    # Two epochs up in thirds, then cos(0), cos(pi/4), cos(pi/2), cos(3pi/4), and the floor from epoch 6 on.
    half = [(1 + math.cos(math.pi * done / 4)) / 2 for done in range(4)]
    shares = [1 / 3, 2 / 3, *[0.2 + 0.8 * share for share in half], 0.2, 0.2]
    assert [rate for rate, _ in found] == pytest.approx(shares)
    assert [rate for _, rate in found] == pytest.approx([0.1 * share for share in shares])


def test_without_warm_up_it_is_torchs_cosine() -> None:
    made, other = optimizer(0.5), optimizer(0.5)
    mine = WarmupCosine(made, epochs=5, warmup_epochs=0)
    torchs = torch.optim.lr_scheduler.CosineAnnealingLR(other, T_max=5)
    for _ in range(5):
        assert made.param_groups[0]["lr"] == pytest.approx(other.param_groups[0]["lr"])
        for one, scheduler in ((made, mine), (other, torchs)):
            one.step()
            scheduler.step()


def test_it_resumes_from_its_state() -> None:
    made = optimizer(0.5)
    scheduler = WarmupCosine(made, epochs=5)
    made.step()
    scheduler.step()
    again = optimizer(0.5)
    later = WarmupCosine(again, epochs=5)
    later.load_state_dict(scheduler.state_dict())
    again.load_state_dict(made.state_dict())
    assert later.get_last_lr() == scheduler.get_last_lr()
    scheduler.step()
    later.step()
    assert again.param_groups[0]["lr"] == made.param_groups[0]["lr"]


@pytest.mark.parametrize(("warmup_epochs", "floor"), [(5, 0.0), (-1, 0.0), (1, -0.1), (1, 1.1)])
def test_impossible_options(warmup_epochs: int, floor: float) -> None:
    with pytest.raises(ConfigError, match=r"WarmupCosine"):
        WarmupCosine(optimizer(1.0), 5, warmup_epochs, floor)


class Witness(Callback):
    """Writes down the rates of each epoch."""

    rates: ClassVar[list[list[float]]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])


SCHEDULED = (
    "--model.lr_scheduler=lightning_vision.recipes.WarmupCosine",
    "--model.lr_scheduler.epochs=3",
    "--model.optimizer=SGD",
    "--model.optimizer.lr=0.5",
    "--trainer.max_epochs=3",
    "--data.stream=Joint",
)


def test_a_run_by_epochs_with_the_groups_of_layer_decay(tmp_path: Path) -> None:
    Witness.rates.clear()
    decay = ("--trainer.callbacks=lightning_vision.recipes.LayerDecay", "--trainer.callbacks.decay=0.5")
    fit(tmp_path, "run", *SCHEDULED, *decay, "--trainer.callbacks+=test_warmup_cosine.Witness")
    assert [rates[0] for rates in Witness.rates] == pytest.approx([0.25, 0.5, 0.25])
    for rates in Witness.rates:
        assert rates == pytest.approx([rates[0] * 0.5**away for away in range(len(rates))])
        assert len(rates) > 3


def test_a_bad_option_is_refused_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(tmp_path, "run", *SCHEDULED, "--model.lr_scheduler.warmup_epochs=3") == 2
    assert "WarmupCosine: expected 0 <= warmup_epochs < epochs, found 3 and 3." in capsys.readouterr().err
