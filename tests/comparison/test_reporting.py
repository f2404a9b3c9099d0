"""The subcommand report, and the test images that it shows."""

import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import fit, start
from photo_folder import write_photos
from PIL import Image

from lightning_vision.cli import main
from lightning_vision.comparison.run_images import SIDE, ImagesOfRuns
from lightning_vision.report.gather import gather
from lightning_vision.report.runs import ReportRun

PHOTOS = ("--data=ImageFolder", "--data.image_size=32", "--data.num_workers=0", "--data.stream=InstanceIncremental",
          "--data.stream.experiences=2", "--data.val_fraction=0")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reporting")
    write_photos(folder / "photos")
    fit(folder / "runs", "photos", *PHOTOS, f"--data.root={folder / 'photos'}", "--model.strategy=HeadOnly")
    return folder


@pytest.fixture
def run(folder: Path) -> ReportRun:
    (group,) = gather([folder / "runs"]).groups
    return group.runs[0]


def with_data(run: ReportRun, **options: Any) -> ReportRun:
    """The run, with other options of its datamodule in its config."""
    data = run.config["data"]
    return replace(run, config={**run.config, "data": {**data, "init_args": {**data["init_args"], **options}}})


def test_a_report_of_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(folder / "runs"), "--output", str(folder / "page")]) == 0
    said = capsys.readouterr().out
    assert "HeadOnly" in said and str(folder / "page" / "report.html") in said
    assert {"report.html", "ranking.csv", "ranking.md"} <= {path.name for path in (folder / "page").iterdir()}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nowhere"], "nowhere"),
        (["photos"], "Expected run directories"),
        ([], "the following arguments are required"),
        (["runs", "--no_such_option"], "unrecognized arguments"),
    ],
)
def test_what_cannot_be_reported_on(
    words: list[str], text: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert main(["report", *words]) == 2
    assert text in capsys.readouterr().err


def test_test_images_are_those_of_the_rows(run: ReportRun, folder: Path) -> None:
    predictions = run.predictions()
    assert predictions is not None
    images, rows = ImagesOfRuns(), predictions.index[:3].tolist()
    shown = [images(run, row) for row in rows]
    assert all(image is not None for image in shown) and len(set(shown)) == 3
    assert max(Image.open(io.BytesIO(shown[0] or b"")).size) <= SIDE
    assert images(run, 10_000) is None


def test_no_code_of_a_config_is_run(run: ReportRun, folder: Path, tmp_path: Path) -> None:
    """What names classes is left out, and a class from elsewhere is not touched."""
    trap = tmp_path / "trap.py"
    trap.write_text("raise SystemExit('imported')")
    assert ImagesOfRuns()(with_data(run, train_transforms=["trap.Trap"]), 0) is not None
    assert ImagesOfRuns()(with_data(run, stream={"class_path": "trap.Trap"}), 0) is None
    elsewhere = replace(run, config={**run.config, "data": {**run.config["data"], "class_path": "trap.Trap"}})
    assert ImagesOfRuns()(elsewhere, 0) is None


def test_without_the_data_as_it_was_there_are_no_images(run: ReportRun, folder: Path, tmp_path: Path) -> None:
    assert ImagesOfRuns()(with_data(run, root=str(tmp_path / "gone")), 0) is None
    changed = tmp_path / "changed"
    shutil.copytree(folder / "photos", changed)
    next(iter(sorted(changed.rglob("*.jpg")))).unlink()
    assert ImagesOfRuns()(with_data(run, root=str(changed)), 0) is None, "rows would be other images"
    assert ImagesOfRuns()(replace(run, config={}), 0) is None


def test_a_run_that_failed_early_is_left_out_and_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = folder / "early"
    assert (
        start(place, "early", "--model.strategy=failing_strategies.MemoryIsFull", "--data.stream.base_fraction=0") != 0
    )
    fit(place, "whole", "--model.strategy=HeadOnly")
    capsys.readouterr()
    (place / "cut").mkdir()
    text = (place / "whole" / "results.json").read_text()
    (place / "cut" / "results.json").write_text(text[: len(text) // 2])
    assert main(["report", str(place), "--output", str(place / "page")]) == 0
    assert "cut: " in capsys.readouterr().out
