"""Options under the names that they had before 0.2."""

import shutil
from pathlib import Path

import pytest
import yaml
from command_line import QUICK, fit
from trusting import write_ood_images

from lightning_vision.cli import main

PANEL = ("--trainer.callbacks=ExplainPanel", "--trainer.callbacks.pictures=2")
DATA = "--data=coloured_squares.ColouredSquares"
NOTICE = "{} is now called {}; the former name works until 0.3."


def panel_of(run: Path) -> dict[str, object]:
    config = yaml.safe_load((run / "config.yaml").read_text())
    options: dict[str, object] = config["trainer"]["callbacks"][0]["init_args"]
    return options


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(
        tmp_path_factory.mktemp("former"), "run", "--model.strategy=HeadOnly", "--data.eval_transforms=resize", *PANEL
    )


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(run, tmp_path / "run")


def test_an_option_of_a_class_on_the_command_line(run: Path) -> None:
    options = panel_of(run)
    assert options["images"] == 2 and "pictures" not in options


@pytest.mark.parametrize("spelling", ["file", "json", "former file under a present option"])
def test_an_option_of_a_class_in_a_file(spelling: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    panel = {"class_path": "lightning_vision.explanation.panel.ExplainPanel", "init_args": {"pictures": 3}}
    file = tmp_path / "panel.yaml"
    file.write_text(yaml.safe_dump({"trainer": {"callbacks": [panel]}}))
    given = {
        "file": [f"--config={file}"],
        "json": ["--trainer.callbacks", f"[{yaml.safe_dump(panel, default_flow_style=True).strip()}]"],
        "former file under a present option": ["--config", str(file), "--trainer.callbacks.images", "4"],
    }[spelling]
    assert main(["fit", *QUICK, *given, "--model.strategy=HeadOnly", "--print_config"]) == 0
    shown, said = capsys.readouterr()
    options = yaml.safe_load(shown)["trainer"]["callbacks"][0]["init_args"]
    assert options["images"] == (4 if "present" in spelling else 3) and "pictures" not in options
    assert said.count(NOTICE.format("ExplainPanel.pictures", "ExplainPanel.images")) == 1


def test_a_run_directory_with_former_names_resumes_and_is_evaluated(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = copied / "config.yaml"
    config.write_text(config.read_text().replace(" images: 2\n", " pictures: 2\n"))
    assert panel_of(copied)["pictures"] == 2
    place = (f"--trainer.default_root_dir={copied.parent}", "--run_name=run", "--ckpt_path=last")
    options = ("--model.strategy=HeadOnly", "--data.eval_transforms=resize")
    assert main(["fit", *QUICK, *options, *PANEL, *place]) == 0
    shown, said = capsys.readouterr()
    assert "is complete; nothing to do" in shown
    assert said.count(NOTICE.format("ExplainPanel.pictures", "ExplainPanel.images")) == 1
    assert main(["validate", f"--ckpt_path={copied}", DATA]) == 0
    assert capsys.readouterr().err.count(NOTICE.format("ExplainPanel.pictures", "ExplainPanel.images")) == 1


def test_options_of_test_in_either_form(copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd, new = write_ood_images(tmp_path / "odd", count=6), write_ood_images(tmp_path / "new", count=6)
    given = ["--unknown_data", str(odd), f"--new_pictures={new}"]
    assert main(["test", f"--ckpt_path={copied}", DATA, *given]) == 0
    shown, said = capsys.readouterr()
    assert f"--ood_data {odd}: 12 images" in shown and f"--new_images {new}: 12 images" in shown
    for old, present in (("--unknown_data", "--ood_data"), ("--new_pictures", "--new_images")):
        assert said.count(NOTICE.format(old, present)) == 1
    assert (copied / "trust" / "trust.json").is_file()


@pytest.mark.parametrize("in_file", [False, True])
def test_options_of_export(in_file: bool, copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--format=pt2", "--check_pictures=5", "--calibration_pictures", "9"]
    if in_file:
        config = yaml.safe_load((copied / "config.yaml").read_text())
        kept = {key: config[key] for key in ("data", "model", "trainer")}
        file = tmp_path / "export.yaml"
        file.write_text(yaml.safe_dump({**kept, "format": "pt2", "check_pictures": 5, "calibration_pictures": 9}))
        given = [f"--config={file}"]
    assert main(["export", f"--ckpt_path={copied}", *([] if in_file else [DATA]), *given]) == 0
    shown, said = capsys.readouterr()
    assert "on 5 images" in shown
    for name in ("check", "calibration"):
        assert said.count(NOTICE.format(f"--{name}_pictures", f"--{name}_images")) == 1


def test_both_names_in_one_place_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "both.yaml"
    panel = {"class_path": "ExplainPanel", "init_args": {"pictures": 3, "images": 3}}
    file.write_text(yaml.safe_dump({"trainer": {"callbacks": [panel]}}))
    assert main(["fit", *QUICK, f"--config={file}"]) == 2
    assert (
        "ExplainPanel.pictures is the former name of ExplainPanel.images, and both are given" in capsys.readouterr().err
    )


def test_a_former_name_is_no_option_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *QUICK, "--check_pictures=5"]) == 2
    assert "--check_pictures" in capsys.readouterr().err
