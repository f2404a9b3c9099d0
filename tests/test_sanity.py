"""Real images, the whole program: what everyone knows must come out."""

from pathlib import Path

import pytest
from command_line import fit

from lightning_vision.results.schema import read_results

DIGITS = ("--data=datamodules.Digits", "--model.optimizer=torch.optim.AdamW", "--model.optimizer.lr=0.003")


def test_all_digits_at_once_are_learned(tmp_path: Path) -> None:
    """Handwritten digits are an easy task: a network from scratch that stays under 0.97 is trained wrongly."""
    options = [
        "--data.stream=Joint",
        "--model.strategy=FullFineTune",
        "--trainer.max_epochs=5",
        "--model.lr_scheduler=torch.optim.lr_scheduler.OneCycleLR",
        "--model.lr_scheduler.max_lr=0.003",
        "--model.lr_scheduler.total_steps=205",
    ]
    results = read_results(fit(tmp_path, "joint", *DIGITS, *options) / "results.json")
    assert results.experiences[0].train_samples == 1294
    assert (results.test_accuracy[-1] or 0) >= 0.97


def test_move_to_data_does_what_its_step_says(tmp_path: Path) -> None:
    """A step of 1e-6 leaves the base as it is; one of 0.5 forgets it, and the run says that rows shrank."""
    options = [
        "--data.stream=InstanceIncremental",
        "--data.stream.experiences=3",
        "--data.stream.base_fraction=0.4",
        "--model.strategy=MoveToData",
        "--model.strategy.epsilon=[1e-6,1e-2,0.5]",
        "--model.base_epochs=4",
    ]
    results = read_results(fit(tmp_path, "moved", *DIGITS, *options) / "results.json")
    base = results.test_accuracy[0] or 0
    after = {name: variant.test_accuracy[-1] or 0 for name, variant in results.variants.items()}
    assert base > 0.7
    assert after["epsilon=1e-06"] == pytest.approx(base, abs=0.005)
    assert after["epsilon=0.5"] < base - 0.1
    assert results.picked_variant is not None and results.picked_variant[-1] != "epsilon=0.5"
    assert (results.test_accuracy[-1] or 0) >= base - 0.02
    assert any("epsilon=0.5: " in note and "shrank below a tenth" in note for note in results.notes)
