"""Retrain: each experience from the start, on all data so far."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import checkpoint_of, fit, start, weights_of
from tiny_network import flat, tiny_batch, tiny_experience, tiny_network

from lightning_vision.errors import ConfigError
from lightning_vision.results.schema import read_results
from strategies.first_session import FirstSession
from strategies.retrain import Retrain

QUIET = ("--keep_checkpoints=all", "--trainer.max_epochs=4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("retrain")


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    return fit(folder, "retrain", *QUIET, "--model.strategy=Retrain", "--data.stream=ClassIncremental",
               "--data.stream.experiences=2")  # fmt: skip


def accuracy(run: Path) -> float:
    found = read_results(run / "results.json").test.accuracy
    assert found is not None
    return found


def test_it_trains_on_all_data_so_far(run: Path) -> None:
    results = read_results(run / "results.json")
    base, increment = results.experiences
    assert increment.epochs == base.epochs == 4
    assert increment.train_samples == base.train_samples, "its own share is half of the data"
    shown = 4 * (base.train_samples + increment.train_samples)
    validated = 4 * (base.val_samples + increment.val_samples)
    assert increment.backbone_images == shown + validated


def test_it_forgets_nothing_as_joint_training_would_not(run: Path, folder: Path) -> None:
    joint = fit(folder, "joint", *QUIET, "--model.strategy=FullFineTune", "--data.stream=Joint")
    tuned = fit(folder, "tuned", *QUIET, "--model.strategy=FullFineTune", "--data.stream=ClassIncremental",
                "--data.stream.experiences=2")  # fmt: skip
    anew, upper, lower = (accuracy(each) for each in (run, joint, tuned))
    assert anew >= upper - 0.1
    assert anew > lower + 0.2, "fine-tuning forgets the first classes"
    forgot = read_results(tuned / "results.json")
    assert forgot.task is not None
    assert (forgot.task.accuracy[-1] or 0) > lower + 0.2, "it still tells them apart where the experience is given"


def test_every_experience_starts_from_the_initial_weights(folder: Path) -> None:
    """Trained for no epoch it stays there; the base's weights are another thing."""
    more = ("--keep_checkpoints=all", "--model.base_epochs=2", "--trainer.max_epochs=0")
    initial = fit(folder, "initial", *more, "--model.strategy=Retrain")
    base = fit(folder, "base", *more, "--model.strategy=Retrain", "--model.strategy.start=base")
    untrained = fit(folder, "untrained", "--keep_checkpoints=all", "--model.base_epochs=0", "--trainer.max_epochs=0")
    kept = [name for name in weights_of(initial, 0) if name.startswith("network.") and name != "network.seen"]
    for name in kept:
        assert torch.equal(weights_of(initial, 1)[name], weights_of(untrained, 0)[name]), name
        assert torch.equal(weights_of(base, 1)[name], weights_of(base, 0)[name]), name
    assert not torch.equal(weights_of(initial, 0)["network.head.weight"], weights_of(initial, 1)["network.head.weight"])


def test_the_start_survives_in_the_checkpoint(run: Path) -> None:
    """A resumed run goes back to the same weights."""
    state = checkpoint_of(run)["state_dict"]
    trained = sum(value.numel() for name, value in state.items() if name.startswith("network.")) - 4
    assert state["strategy.weights"].numel() == trained


def test_with_a_given_base_it_goes_back_to_its_own_initial_weights(run: Path, folder: Path) -> None:
    """Those that the network was built with, so that it ends as it does when it trains the base itself."""
    more = ("--model.strategy=Retrain", "--data.stream=ClassIncremental", "--data.stream.experiences=2")
    given = fit(
        folder, "given", *QUIET, *more, f"--model.base_checkpoint={run / 'checkpoints' / 'experience=0000.ckpt'}"
    )
    assert read_results(given / "results.json").experiences[0].epochs == 0
    for name, value in weights_of(run).items():
        assert torch.equal(value, weights_of(given)[name]), name


@pytest.mark.parametrize("is_base", [True, False])
def test_a_run_that_goes_on_starts_from_its_own_base(is_base: bool) -> None:
    """The state of the run that it starts from names the weights after that run's base, before its increments."""
    strategy, network, batch = Retrain("base"), tiny_network(), tiny_batch([0, 1])
    strategy.weights = torch.zeros(sum(value.numel() for value in network.parameters()))
    given = flat(network).clone()
    strategy.before_experience(network, replace(tiny_experience(0, batch), is_base=is_base))
    assert torch.equal(flat(network), given)
    for index in (1, 2):
        strategy.before_experience(network, tiny_experience(index, batch))
        assert torch.equal(flat(network), given)
        with torch.no_grad():
            network.classifier.weight.add_(1.0)


def test_a_base_that_keeps_the_original_backbone() -> None:
    """The copy is set when the base begins, after the initial weights were kept."""
    strategy, network, batch = Retrain(), tiny_network(), tiny_batch([0, 1])
    initial = flat(network).clone()
    strategy.before_stream(network)
    FirstSession().before_experience(network, tiny_experience(0, batch))
    strategy.before_experience(network, tiny_experience(0, batch))
    assert network.original is not None
    with torch.no_grad():
        network.classifier.weight.add_(1.0)
    strategy.before_experience(network, tiny_experience(1, batch))
    assert torch.equal(flat(network), initial)


def test_what_only_the_base_has_seen_is_not_forgotten_unsaid(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--model.strategy=Retrain", f"--model.base_checkpoint={run}", "--data.stream.base_fraction=0")
    assert start(folder, "refused", *more) == ConfigError.exit_code
    assert "Retrain restarts" in (said := capsys.readouterr().err) and "model.strategy.start=base" in said
    assert not list(folder.glob("**/refused")), "it is refused before anything is written"
    assert start(folder, "refused", "--model.strategy=GDumb", *more[1:]) == ConfigError.exit_code
    assert "GDumb restarts" in (said := capsys.readouterr().err) and "model.strategy.start" not in said
    assert start(folder, "accepted", *more, "--model.strategy.start=base") == 0
