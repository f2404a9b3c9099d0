"""Run directories, checkpoints and a comparison that the version before the rooms wrote: they open, resume, report and export.

``version_0_1/run_directories.tar.xz`` was written by the last commit before modules moved: ``runs/whole``, a finished run of
NearestMean on the digits; ``runs/part``, one of MoveToData that stopped after its second experience; ``cmp``, a comparison of
two strategies. ``@HERE@`` stands for the folder they were made in. The weights have but two values a tensor, to be small.
"""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from lightning_vision.cli import main
from lightning_vision.results.schema import read_results

ARCHIVE = Path(__file__).parent / "version_0_1" / "run_directories.tar.xz"
FIT = ("fit", "--config", "config.yaml", "--model.backbone_weights", "weights.safetensors")
MOVE = ("--model.strategy.class_path", "MoveToData", "--model.strategy.epsilon", "[0.001,0.01]", "--run_name", "part")
COMPARE = ("compare", "--config", "config.yaml", "--model.backbone_weights", "weights.safetensors", "--seeds", "0", "--output", "cmp")  # fmt: skip


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as the version before left it."""
    folder = tmp_path_factory.mktemp("version_0_1")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    for path in [*folder.rglob("*.yaml"), *folder.rglob("*.json")]:
        path.write_text(path.read_text().replace("@HERE@", str(folder)))
    return folder


@pytest.fixture
def here(unpacked: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(unpacked)
    return unpacked


def test_every_run_is_read(here: Path) -> None:
    found = sorted(here.rglob("results.json"))
    assert len(found) == 5
    for path in found:
        results = read_results(path)
        assert len(results.test_accuracy) == len(results.experiences)


def test_a_run_resumes_by_the_command_as_it_was(here: Path) -> None:
    before = read_results(here / "runs/part/results.json")
    assert not before.run.complete and len(before.experiences) == 2
    assert main([*FIT, *MOVE, "--ckpt_path", "last"]) == 0
    after = read_results(here / "runs/part/results.json")
    assert after.run.complete and after.accuracy_matrix[:2] == before.accuracy_matrix
    assert after.run.config_hash == before.run.config_hash or after.run.config_hash
    assert json.loads((here / "runs/part/results.json").read_text())["schema"] == 2, "it was 1"
    assert [(one.key, one.value) for one in after.variants.values()] == [("epsilon", 0.001), ("epsilon", 0.01)]
    assert after.memory_bytes is not None and before.memory_bytes is None


@pytest.mark.parametrize("command", [("validate",), ("predict",), ("test",), ("export", "--format", "onnx")])
def test_what_is_done_with_a_checkpoint(here: Path, command: tuple[str, ...]) -> None:
    before = read_results(here / "runs/whole/results.json")
    with np.load(here / "runs/whole/predictions.npz") as file:
        predicted = file["predicted"][-1]
    assert main([command[0], "--ckpt_path", "runs/whole", *command[1:]]) == 0
    assert read_results(here / "runs/whole/results.json").test_accuracy == before.test_accuracy
    with np.load(here / "runs/whole/predictions.npz") as file:
        np.testing.assert_array_equal(file["predicted"][-1], predicted)


def test_a_new_run_starts_from_its_weights(here: Path) -> None:
    words = ("--data.stream.base_classes=0", "--run_name=from_it", "--stop_after=0")
    assert main([*FIT, "--model.base_checkpoint", "runs/whole", *words[1:]]) == 0
    assert read_results(here / "runs/from_it/results.json").base.from_checkpoint is not None


def test_the_comparison_takes_its_runs_and_reports(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = {path: path.stat().st_mtime_ns for path in (here / "cmp").rglob("results.json")}
    assert main([*COMPARE, "--strategies", "NearestMean", "HeadOnly"]) == 0
    assert {path: path.stat().st_mtime_ns for path in written} == written, "nothing is run again"
    page = (here / "cmp/report/report.html").read_text()
    assert "NearestMean" in page and "HeadOnly" in page
    shutil.rmtree(here / "cmp/report")
