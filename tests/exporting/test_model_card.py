"""The model card, as Hugging Face and a person read it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import fit
from huggingface_hub import ModelCard
from loaded_run import SIDE, squares

from lightning_vision.errors import CheckpointError
from lightning_vision.exporting.card_record import training_options
from lightning_vision.exporting.check import Difference
from lightning_vision.exporting.description import Description
from lightning_vision.exporting.model_card import Exported, write_model_card
from lightning_vision.results.schema import read_results
from lightning_vision.trust.report import Accepted, Calibration, Rejection, TrustReport, write_trust_report

NAMES = ["red", "green", "blue", "grey"]
DESCRIPTION = Description(
    NAMES, [True] * 4, SIDE, [{"op": "resize_shorter", "size": 18}, {"op": "center_crop", "size": 16}], [0.5] * 3,
    [0.5] * 3, 1.0, None, "test_resnet", "strategies.head_only.HeadOnly", 96, True, 18, False,
)  # fmt: skip


def exported(path: Path, **about: Any) -> Exported:
    return Exported(
        path=path,
        description=replace(DESCRIPTION, **about),
        size_bytes=1_560_000,
        parameters=373_076,
        difference=Difference(24, 2e-7, 1e-8, 3e-7, 3e-7, 1.0),
        calibration_images=200 if about.get("quantized") else 0,
        latency_ms=0.52,
        torch_latency_ms=2.1,
        threads=2,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two experiences."""
    options = ("--model.strategy=HeadOnly", "--data.stream.experiences=2", "--energy.enabled=true")
    return fit(tmp_path_factory.mktemp("runs"), "two", *options)


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy that may be written into."""
    return shutil.copytree(finished, tmp_path / "two")


def card_of(run: Path, experience: int = 1, one_view: bool = False, suffix: str = "onnx", **about: Any) -> str:
    file = exported(run / f"two.{suffix}", **about)
    path = write_model_card(file, squares(), run, experience, one_view=one_view)
    assert path == run / f"two.{suffix}.md"
    return path.read_text()


def test_hugging_face_reads_it(run: Path) -> None:
    data: Any = ModelCard(card_of(run)).data
    test = read_results(run / "results.json").test
    assert (data.license, data.library_name) == ("unknown", "lightning_vision")
    assert {"test_resnet", "HeadOnly", "onnx", "continual-learning"} <= set(data.tags)
    assert data.datasets == ["ColouredSquares"]
    accuracy, f1 = data.eval_results
    assert (accuracy.metric_type, f1.metric_type) == ("accuracy", "f1")
    assert accuracy.metric_value == pytest.approx(test.accuracy, abs=1e-4)
    assert f1.metric_value == pytest.approx(test.macro_f1, abs=1e-4)
    assert (accuracy.task_type, accuracy.dataset_name) == ("image-classification", "ColouredSquares")


def test_an_option_of_0_is_stated() -> None:
    chosen = {
        "class_path": "strategies.FeCAM",
        "init_args": {"gamma1": 1.0, "gamma2": 0.0, "covariance": None, "raw": False},
    }
    assert training_options({"model": {"strategy": chosen}}) == ["model.strategy: FeCAM (gamma1 1.0, gamma2 0.0)"]


def test_scores_data_and_price(run: Path) -> None:
    text = card_of(run)
    results = read_results(run / "results.json")
    found = results.test.per_class["blue"]
    train = json.loads((run / "results.json").read_text())["run"]["data"]["samples_per_class"]["blue"]["train"]
    percent = [
        f"{100 * value:.1f} %" if value is not None else ""
        for value in (found["precision"], found["recall"], found["f1"])
    ]
    assert f"| blue | yes | {train} | {found['support']} | {' | '.join(percent)} |" in text
    assert "58 training, 14 validation and 24 test images in 4 classes" in text
    assert f"On the test set: accuracy {100 * (results.test.accuracy or 0):.1f} %" in text
    assert (
        "It was trained on 2 successive experiences of ColouredSquares (InstanceIncremental) with the learning strategy HeadOnly"
        in text
    )
    assert "| preparation | resize_shorter 18, center_crop 16 (bilinear, antialias), after EXIF orientation |" in text
    assert "Energy was " in text and "grid of FRA" in text
    assert text.count(" Wh |") == 2
    assert "- Licence of the images: unknown" in text
    assert "every image is assigned a class" in text
    assert "- model.optimizer: AdamW (lr 0.001, " in text
    assert "- model.pretrained: False\n" in text
    assert "- trainer.max_epochs: 1\n" in text
    assert "It was not tested on out-of-distribution images." in text
    assert str(run.parent) not in text


def test_an_earlier_experience_has_no_scores_per_class(run: Path) -> None:
    text = card_of(run, experience=0)
    results = read_results(run / "results.json")
    assert f"Accuracy on the test set after this experience: {100 * (results.test_accuracy[0] or 0):.1f} %." in text
    assert "Scores per class are recorded for the last experience only." in text
    assert "It was trained on one experience of" in text
    assert "model-index" not in text


def test_temperature_threshold_and_classes_never_seen(run: Path) -> None:
    text = card_of(run, temperature=2.5, threshold=0.4, seen=[True, True, False, True])
    assert "softmax(logits / 2.5)" in text
    assert "images with a largest probability below 0.4000 are rejected" in text
    assert "expected calibration error" in text and "before the temperature" in text
    assert "These classes were never seen and are never predicted: blue." in text


def test_int8_claims_no_scores_of_the_float_model(run: Path) -> None:
    text = card_of(run, quantized=True)
    assert "model-index" not in text
    assert "8-bit integers, calibrated on 200 training images" in text
    assert "On the test set, of the float32 model: accuracy" in text


@pytest.mark.parametrize(("suffix", "use"), [("pt2", 'load_pt2("two.pt2")'), ("pte", "ExecuTorch runtime")])
def test_how_other_formats_are_used(run: Path, suffix: str, use: str) -> None:
    text = card_of(run, suffix=suffix, opset=None)
    assert use in text
    assert "DeployedModel" not in text
    assert "opset" not in text


def test_trust_is_reported_for_the_same_experience(run: Path) -> None:
    accepted = Accepted(images=24, accepted=12, coverage=0.5, risk=0.25, risk_bound=0.5)
    report = TrustReport(
        checkpoint="c", experience=1, backbone="test_resnet", strategy="HeadOnly", class_names=NAMES,
        calibration=Calibration(
            temperature=1.5, determined=True, validation_images=60, nll_before=1.0, nll_after=0.9, test_images=24,
            ece_before=0.2, ece_after=0.05,
        ),
        rejection=Rejection(
            target="coverage", wanted=0.5, threshold=0.3, validation=accepted, test=accepted, aurc=None,
            ood_accepted=None,
        ),
    )  # fmt: skip
    (run / "trust").mkdir()
    write_trust_report(report, run / "trust" / "trust.json")
    text = card_of(run)
    assert (
        "Temperature 1.5, fitted on 60 validation images: expected calibration error on the test set 20.0 % before, 5.0 % after."
        in text
    )
    assert "50.0 % of the test images are accepted, of which 25.0 % are wrong." in text
    assert "## Trust" not in card_of(run, experience=0)


def test_one_view_of_several_is_said(run: Path) -> None:
    assert "(several views of each image); this file uses one view." in card_of(run, one_view=True)


def test_names_cannot_break_it(run: Path) -> None:
    """A class is a folder's name."""
    bad = "a|b\n# <script>[x](y)"
    results = (run / "results.json").read_text().replace('"grey"', json.dumps(bad))
    (run / "results.json").write_text(results)
    text = card_of(run, class_names=[*NAMES[:3], bad])
    assert "<script>" not in text
    assert "\n# &lt;" not in text
    assert r"| a\|b # &lt;script&gt;\[x\](y) | yes |" in text


def test_without_results(run: Path) -> None:
    (run / "results.json").unlink()
    text = card_of(run)
    assert "has no scores" in " ".join(text.split())
    assert "model-index" not in yaml.safe_load(text.split("---")[1])
    assert "## Training" not in text
    assert "| blue | yes |  |  |  |  |  |" in text


def test_results_of_another_run(run: Path) -> None:
    with pytest.raises(CheckpointError, match="has 2 experiences, but the checkpoint is from experience 5"):
        card_of(run, experience=5)
