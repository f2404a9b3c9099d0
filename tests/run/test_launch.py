"""A run that is launched without a command line."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from coloured_squares import ColouredSquares
from command_line import fit, weights_of
from lightning.pytorch import seed_everything

from lightning_vision.data.scenarios import InstanceIncremental
from lightning_vision.errors import CheckpointError, ConfigError
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.trainer_probe import probe_trainer
from lightning_vision.results.schema import Results, read_results, without_measurements
from lightning_vision.run.launch import RunLaunch
from lightning_vision.run.run_request import RunRequest
from lightning_vision.terminal.messages import muted
from lightning_vision.tracking.options import EnergyOptions, WandbOptions
from strategies import HeadOnly


def trainer_options() -> dict[str, Any]:
    return {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "enable_model_summary": False}


def request(root: Path, **changes: Any) -> RunRequest:
    config = {"model": {"strategy": {"class_path": "strategies.HeadOnly"}}, "data": {}, "trainer": trainer_options()}
    return RunRequest(
        **{
            "name": "mine",
            "root": root,
            "config": config,
            "config_text": yaml.safe_dump(config),
            "energy": EnergyOptions(enabled=False),
            "wandb": WandbOptions(mode="disabled"),
            "progress": False,
            **changes,
        }
    )


def launch(asked: RunRequest) -> tuple[Results, RunLaunch]:
    """As whoever asks for a run does it: look, build, run."""
    launched = RunLaunch(asked)
    assert launched.check() == []
    probe = probe_trainer(trainer_options())
    seed_everything(asked.seed, workers=True)
    data = ColouredSquares(stream=InstanceIncremental(experiences=3))
    model = ContinualClassifier(
        strategy=HeadOnly(),
        backbone="test_resnet",
        pretrained=False,
        class_names=data.class_names,
        image_size=data.image_size,
    )
    return launched.run(model, data, trainer_options, probe), launched


@pytest.fixture(scope="module")
def by_command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("command"), "mine", "--model.strategy=HeadOnly")


def test_it_is_the_run_of_the_command_line(by_command: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with muted():
        results, launched = launch(request(tmp_path))
    assert capfd.readouterr().out == ""
    run = tmp_path / "mine"
    assert launched.trained and results.run.complete and read_results(run / "results.json") == results
    mine, theirs = weights_of(run), weights_of(by_command)
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)
    one, other = (without_measurements(each) for each in (results, read_results(by_command / "results.json")))
    assert one["test"] == other["test"] and one["accuracy_matrix"] == other["accuracy_matrix"]
    assert yaml.safe_load((run / "config.yaml").read_text()) == request(tmp_path).config


def test_a_complete_run_gives_its_results_and_trains_nothing(
    by_command: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _ = launch(request(tmp_path, stop_after=0))
    assert not first.run.complete and len(first.experiences) == 1
    whole, launched = launch(request(tmp_path, resume=True))
    assert launched.trained and whole.run.complete and len(whole.experiences) == 3
    assert weights_of(tmp_path / "mine").keys() == weights_of(by_command).keys()
    capsys.readouterr()
    again, launched = launch(request(tmp_path, resume=True))
    assert again == whole and not launched.trained
    assert capsys.readouterr().out.startswith(f"The run {tmp_path / 'mine'} is complete; nothing to do.")


def test_what_is_there_is_looked_at_before_anything_is_built(tmp_path: Path) -> None:
    asked = request(tmp_path)
    asked.directory.checkpoints.mkdir(parents=True)
    asked.directory.config.write_text(asked.config_text)
    with pytest.raises(ConfigError, match=r"The run directory .*mine exists already"):
        RunLaunch(asked).check()
    other = {**asked.config, "trainer": {**trainer_options(), "max_epochs": 2}}
    with pytest.raises(CheckpointError, match=r"trainer\.max_epochs"):
        RunLaunch(replace(asked, resume=True, config=other)).check()
    inside = {**asked.config, "model": {"base_checkpoint": str(asked.directory.checkpoints)}}
    with pytest.raises(ConfigError, match=r"--overwrite would delete .*mine, and model\.base_checkpoint"):
        RunLaunch(replace(asked, overwrite=True, config=inside)).check()
    assert asked.directory.config.read_text() == asked.config_text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keep_checkpoints": 0}, "keep_checkpoints: expected last, all or a number from 1 on, found 0"),
        ({"stop_after": -1}, "stop_after: expected the number of an experience, from 0 on, found -1"),
        ({"energy": EnergyOptions(country="Atlantis")}, "Atlantis"),
    ],
)
def test_values_that_no_run_can_have(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        request(tmp_path, **changes)
