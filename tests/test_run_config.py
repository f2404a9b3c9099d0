"""What is done with a checkpoint takes its run's configuration, where none is given."""

from pathlib import Path

import pytest
from command_line import QUICK, fit

from lightning_vision.cli import main


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("runs"), "run", "--model.strategy=NearestMean", "--stop_after=0")


@pytest.mark.parametrize("checkpoint", ["", "checkpoints/experience=0000.ckpt"])
def test_the_run_knows_its_own_options(run: Path, checkpoint: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["test", f"--ckpt_path={run / checkpoint}"]) == 0
    assert "test accuracy" in capfd.readouterr().out


def test_options_of_the_command_line_win(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "--ckpt_path", str(run), "--model.strategy=RanPAC"]) == 1
    assert "model.strategy: strategies.nearest_mean.NearestMean in the checkpoint" in capfd.readouterr().err


def test_a_config_that_is_given_is_the_one(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.yaml").write_text("seed_everything: 1\n", encoding="utf-8")
    assert main(["test", "--config", str(tmp_path / "empty.yaml"), "--ckpt_path", str(run)]) == 2
    assert "No datamodule is given" in capfd.readouterr().err


def test_a_checkpoint_alone_needs_the_options(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    alone = tmp_path / "alone.ckpt"
    alone.write_bytes((run / "checkpoints" / "experience=0000.ckpt").read_bytes())
    assert main(["test", f"--ckpt_path={alone}"]) == 2
    assert "No datamodule is given" in capfd.readouterr().err
    options = [option for option in QUICK if not option.startswith("--trainer.max_epochs")]
    assert main(["test", *options, "--model.strategy=NearestMean", f"--ckpt_path={alone}"]) == 0


def test_a_run_that_is_not_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["export", f"--ckpt_path={tmp_path / 'nothing'}"]) == 1
    assert "Expected a checkpoint or the directory of a run, found nothing at" in capfd.readouterr().err


def test_a_folder_that_is_no_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["test", f"--ckpt_path={tmp_path}"]) == 1
    assert f"Expected the directory of a run, found no config.yaml in {tmp_path}." in capfd.readouterr().err


def test_fit_takes_no_one_elses_options(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--ckpt_path=last"]) == 2
    assert "No datamodule is given" in capfd.readouterr().err


def test_a_base_is_tested_by_the_closed_form_that_was_given_its_data(run: Path) -> None:
    before = (run / "results.json").read_text(encoding="utf-8")
    assert main(["test", f"--ckpt_path={run}"]) == 0
    assert (run / "results.json").read_text(encoding="utf-8") == before
