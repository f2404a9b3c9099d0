"""``export`` on a finished run: the file, what is said, what is refused."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import fit
from loaded_run import load, squares

import strategies
from lightning_vision.deployed.model_file import DeployedModel
from lightning_vision.errors import CheckpointError, ConfigError, DataError
from lightning_vision.exporting import check, command
from lightning_vision.exporting.classifier_module import ClassifierModule
from lightning_vision.exporting.command import export
from lightning_vision.exporting.description import Description
from lightning_vision.exporting.formats import Onnx
from lightning_vision.exporting.options import ExportOptions
from lightning_vision.exporting.pt2_file import load_pt2
from lightning_vision.learning.checkpoints import find_checkpoint
from lightning_vision.learning.loaded_checkpoint import LoadedCheckpoint
from lightning_vision.learning.trainer_factory import TrainerFactory
from lightning_vision.recipes.test_time_augmentation import TestTimeAugmentation
from lightning_vision.trust.kept_calibration import Trusted, keep_trusted

EPSILONS = [0.001, 0.1]
TRAINERS = TrainerFactory(dict, Path(), [])
"""Without recipes."""


@dataclass(frozen=True)
class Done:
    """A run that was exported, and what was said."""

    run: Path
    said: str


def export_run(run: Path, data: Any = None, trainers: TrainerFactory = TRAINERS, **options: Any) -> str:
    """What is said of it."""
    data = data or squares()
    model, path, experience = load(run, data, strategies.MoveToData(EPSILONS))
    exported = export(LoadedCheckpoint(model, data, trainers, path, experience), ExportOptions(**options))
    assert exported is not None and exported.path.is_file()
    return "\n".join(exported.lines)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of Move-to-Data."""
    options = ("--model.strategy=MoveToData", f"--model.strategy.epsilon={EPSILONS}", "--data.eval_transforms=resize")
    return fit(tmp_path_factory.mktemp("runs"), "sweep", *options)


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy that may be written into."""
    return shutil.copytree(finished, tmp_path / "sweep")


@pytest.fixture(scope="module")
def exported(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The run as an ONNX file."""
    copied = shutil.copytree(finished, tmp_path_factory.mktemp("exported") / "sweep")
    return Done(copied, export_run(copied))


class TestOnnx:
    def test_the_file_predicts_what_the_run_did(self, exported: Done) -> None:
        deployed = DeployedModel(exported.run / "export" / "sweep.onnx")
        data = squares()
        rows = data.rows_to_evaluate("test")
        found = deployed.predict_batch(np.stack([data.preview(int(row)).numpy() for row in rows]))
        with np.load(exported.run / "predictions.npz") as kept:
            np.testing.assert_array_equal(kept["index"], rows)
            np.testing.assert_array_equal(kept["predicted"][-1], found.predicted)
            np.testing.assert_allclose(kept["confidence"][-1], found.confidence, atol=1e-4)

    def test_it_says_what_it_is(self, exported: Done) -> None:
        facts = DeployedModel(exported.run / "export" / "sweep.onnx").facts
        assert facts.strategy == "strategies.move_to_data.MoveToData"
        assert (facts.temperature, facts.threshold, facts.linear_head, facts.quantized) == (1.0, None, True, False)
        assert [(step.name, step.sizes) for step in facts.preprocessing.operations] == [("resize", (16, 16))]

    def test_the_card_lies_beside_it(self, exported: Done) -> None:
        assert sorted(path.name for path in (exported.run / "export").iterdir()) == ["sweep.onnx", "sweep.onnx.md"]
        assert "# sweep\n" in (exported.run / "export" / "sweep.onnx.md").read_text()

    def test_what_is_said(self, exported: Done) -> None:
        said = exported.said
        assert re.search(
            r"Exported: .*sweep\.onnx \([\d.]+ MB, 0\.373\d? M parameters, float32, opset 18, 4 classes\)", said
        )
        assert "on 24 images, in batches of 1 and 7: same class for 100.0%, probabilities within" in said
        assert re.search(r"One image takes [\d.]+ ms here \(median of 30\), PyTorch [\d.]+ ms; \d threads?\n", said)
        assert "temperature 1, nothing is rejected: none was fitted (lightning-vision test --calibrate true" in said
        assert f"Model card: {exported.run / 'export' / 'sweep.onnx.md'}" in said

    def test_int8_with_temperature_threshold_and_a_former_head(
        self, run: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keep_trusted(Trusted(temperature=2.5, threshold=0.4, coverage=0.9, risk=0.1), find_checkpoint(run))
        (run / "export").mkdir()
        (run / "export" / "sweep-int8.head.npz").touch()
        monkeypatch.setattr(command, "ENOUGH_AGREEMENT", 1.1)
        said = export_run(run, int8=True, calibration_images=500)
        deployed = DeployedModel(run / "export" / "sweep-int8.onnx")
        assert (deployed.facts.quantized, deployed.temperature, deployed.threshold) == (True, 2.5, 0.4)
        assert "int8 is calibrated on all 58 training images; there are no more." in said
        assert "int8 calibrated on 58 training images, opset 18" in said
        assert re.search(r"same class for [\d.]+%, probabilities within [\d.e-]+ \(mean [\d.e-]+\)", said)
        assert "WARNING: int8 and float predict different classes for" in said
        assert "temperature 2.5, rejects below 0.4000\n" in said
        assert "sweep-int8.head.npz was learned with the former file. Move it to another folder" in said

    def test_a_file_that_is_not_equal_is_not_left(
        self, exported: Done, run: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def copy(_: Onnx, module: ClassifierModule, description: Description, path: Path) -> None:
            shutil.copy(exported.run / "export" / "sweep.onnx", path)

        (run / "export").mkdir()
        (run / "export" / "sweep.onnx").write_text("the file before")
        monkeypatch.setattr(Onnx, "write", copy)
        monkeypatch.setattr(check, "TOLERANCE", -1.0)
        with pytest.raises(
            CheckpointError, match=r"The predictions of \.onnx differ from the model's on 24 test images"
        ):
            export_run(run)
        assert [path.name for path in (run / "export").iterdir()] == ["sweep.onnx"]
        assert (run / "export" / "sweep.onnx").read_text() == "the file before"


def test_pt2_elsewhere(run: Path) -> None:
    target = run.parent / "new" / "mine.pt2"
    trainers = TrainerFactory(lambda: {"callbacks": [TestTimeAugmentation()]}, Path(), [])
    said = export_run(run, trainers=trainers, format="pt2", output=str(target), check_images=8)
    assert load_pt2(target)[1]["preprocessing"] == [{"op": "resize", "height": 16, "width": 16}]
    assert "float32, 4 classes)" in said
    assert "on 8 images" in said
    assert (
        "The file predicts from one view of an image, without the test-time augmentation of the run's test figures."
        in said
    )
    assert "this file uses one view" in (run.parent / "new" / "mine.pt2.md").read_text()


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"int8": True, "format": "pt2"}, r"--int8 needs --format onnx, found --format pt2"),
            ({"check_images": 0}, r"--check_images: expected 1 or more, found 0"),
            ({"calibration_images": -1}, r"--calibration_images: expected 1 or more, found -1"),
            ({"output": "m.pt"}, r"--output: expected a file that ends in \.onnx, found m\.pt"),
            ({"opset": 9}, r"--opset: expected a number from 18"),
        ],
    )
    def test_options(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            ExportOptions(**options).check()

    def test_a_torch_that_is_too_old(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch, "__version__", "2.8.1+cpu")
        with pytest.raises(ConfigError, match=r"needs torch 2\.9 or later, found 2\.8\.1\+cpu"):
            ExportOptions().check()

    def test_transforms_that_cannot_be_said(self, run: Path) -> None:
        data = squares(eval_transforms=["center_crop", {"Grayscale": {"num_output_channels": 3}}])
        with pytest.raises(
            ConfigError, match=r"data\.eval_transforms: an exported classifier supports only .* found Grayscale"
        ):
            export_run(run, data)
        assert not any((run / "export").glob("*"))

    def test_images_that_no_transform_brings_to_size(self, run: Path) -> None:
        data = squares(eval_transforms="Identity")
        data._images = data._images.repeat_interleave(2, dim=2)
        with pytest.raises(
            ConfigError, match=r"expected images of 3 x 16 x 16, as given by data\.image_size; found 3 x 32 x 16"
        ):
            export_run(run, data)

    def test_nothing_to_check_it_on(self, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        data = squares()
        monkeypatch.setattr(data, "rows_to_evaluate", lambda part: np.empty(0, dtype=np.int64))
        with pytest.raises(DataError, match="neither test nor validation images for checking the exported file"):
            export_run(run, data)

    def test_a_folder_is_no_file(self, run: Path) -> None:
        (run / "folder.onnx").mkdir()
        with pytest.raises(ConfigError, match=r"expected a file, found the folder .*folder\.onnx"):
            export_run(run, output=str(run / "folder.onnx"))
