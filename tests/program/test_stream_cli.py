"""The program behind the front door: options composed in order, defaults, names of runs, and who writes what."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import QUICK, fit
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lightning_vision.cli import main
from lightning_vision.errors import ConfigError, DataError, TrainingError
from lightning_vision.program import library_errors


def composed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """The configuration that these words come to."""
    capsys.readouterr()
    assert main(["fit", *words, "--print_config"]) == 0
    config: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return config


def test_later_files_and_options_win(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "first.yaml").write_text("data: Digits\nseed_everything: 1\ntrainer: {max_epochs: 3, devices: 1}\n")
    (tmp_path / "second.yaml").write_text("trainer: {max_epochs: 4}\nmodel: {backbone: resnet50}\n")
    config = composed(
        capsys,
        "--config",
        str(tmp_path / "first.yaml"),
        "--config",
        str(tmp_path / "second.yaml"),
        "--model.backbone=resnet34",
    )
    assert (config["seed_everything"], config["trainer"]["max_epochs"], config["trainer"]["devices"]) == (1, 4, 1)
    assert config["model"]["backbone"] == "resnet34"


def test_a_printed_config_is_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = composed(capsys, "--data=Digits", "--data.stream=ClassIncremental", "--model.strategy=MoveToData")
    (tmp_path / "printed.yaml").write_text(yaml.safe_dump(config))
    assert composed(capsys, "--config", str(tmp_path / "printed.yaml")) == config


@pytest.mark.parametrize(
    ("given", "epsilon"), [("0.5", 0.5), ("[0.1,0.2]", [0.1, 0.2]), ("1e-3", 0.001), ("[1e-3]", [0.001])]
)
def test_epsilon_is_a_number_or_a_list(given: str, epsilon: object, capsys: pytest.CaptureFixture[str]) -> None:
    config = composed(capsys, "--data=Digits", "--model.strategy=MoveToData", f"--model.strategy.epsilon={given}")
    assert config["model"]["strategy"]["init_args"]["epsilon"] == epsilon


def test_a_run_is_named_after_strategy_scenario_and_seed(tmp_path: Path) -> None:
    """So that the runs of a comparison lie side by side without anybody naming them."""
    words = [*QUICK, f"--trainer.default_root_dir={tmp_path}", "--seed_everything=7", "--data.stream=Joint"]
    words = [word for word in words if not word.startswith("--data.stream.experiences")]
    assert main(["fit", *words, "--model.strategy=HeadOnly", "--model.restore_best=false"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["HeadOnly-Joint-seed=7"]


def test_without_loggers_there_is_still_metrics_csv(tmp_path: Path) -> None:
    """The curves are drawn from it."""
    run = fit(tmp_path, "run", "--data.stream.experiences=1", "--trainer.logger=false", "--wandb.mode=offline")
    assert (run / "metrics.csv").is_file()
    assert (run / "curves.png").is_file()
    assert not (run / "wandb").exists()


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (MisconfigurationException("no such thing"), ConfigError, "Lightning refuses an option of the trainer: no such thing"),
        (RuntimeError("DataLoader worker (pid 3) is killed by signal: Killed."), DataError, "data.num_workers=0"),
        (RuntimeError("Connection closed by peer [127.0.0.1]:1234"), TrainingError, "Another process of this run ended"),
        (RuntimeError("[enforce fail] . unexpected pos 64 vs 0"), TrainingError, "Is the disk full?"),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling"), TrainingError, "The memory is full"),
        (MemoryError(), TrainingError, "The memory is full (MemoryError)"),
        (OSError(28, "No space left on device"), TrainingError, "The disk is full"),
        (OSError(122, "Disk quota exceeded"), TrainingError, "The disk is full"),
        (RuntimeError("Early stopping conditioned on metric `x` which is not available. Pass in or modify"), ConfigError, "The metrics are val/loss"),
    ],
)  # fmt: skip
def test_what_a_library_says_in_its_own_way(error: Exception, kind: type[Exception], words: str) -> None:
    mended = library_errors.in_words(error)
    assert type(mended) is kind
    assert words in str(mended)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes cannot be multiplied"), KeyError("x"), PermissionError(13, "no", "f")]
)
def test_what_is_no_users_mistake_stays_what_it_is(error: Exception) -> None:
    """A message that guesses would hide where the code is wrong."""
    assert library_errors.in_words(error) is None


def test_an_error_of_ours_is_found_inside_a_librarys() -> None:
    outer = ValueError("Does not validate")
    outer.__cause__ = ConfigError("epsilon is too large")
    assert library_errors.in_words(outer) is outer.__cause__
