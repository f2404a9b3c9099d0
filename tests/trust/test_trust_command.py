"""Out-of-distribution images, calibration and rejection of a finished run, from the options to the files."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import checkpoint_of, fit
from PIL import Image
from refusals import refused
from trusting import opened, write_ood_images

from lightning_vision.errors import CheckpointError, ConfigError, DataError
from lightning_vision.trust.command import assess
from lightning_vision.trust.detectors import DETECTORS
from lightning_vision.trust.former_schema import from_schema_1
from lightning_vision.trust.kept_calibration import KEY
from lightning_vision.trust.options import TrustOptions
from lightning_vision.trust.report import TrustReport, read_trust_report, write_trust_report

# Noise enough for errors, which a temperature needs.
NOISY = ("--data.per_class=120", "--data.noise=150", "--data.batch_size=32", "--model.base_epochs=3")
STREAM = ("--data.stream=ClassIncremental", "--data.stream.experiences=2")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("runs"), "run", *NOISY, *STREAM, "--model.strategy=NearestMean")


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture(scope="module")
def ood_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ood_images(tmp_path_factory.mktemp("ood_images") / "odd")


def look(run: Path, options: TrustOptions, *others: str) -> TrustReport:
    """What a call writes."""
    assess(opened(run, *NOISY, *STREAM, "--model.strategy=NearestMean", *others), options)
    return read_trust_report(Path(options.output or run / "trust") / "trust.json")


class TestOutOfDistribution:
    @pytest.fixture(scope="class")
    def report(self, finished: Path, ood_images: Path, tmp_path_factory: pytest.TempPathFactory) -> TrustReport:
        copied = shutil.copytree(finished, tmp_path_factory.mktemp("copied") / "run")
        return look(copied, TrustOptions(ood_data=str(ood_images)))

    def test_every_checkpoint_and_every_score(self, report: TrustReport) -> None:
        found = report.out_of_distribution
        assert found is not None and found.images == 40 and found.coverage == 0.95
        assert [item.experience for item in found.checkpoints] == [0, 1]
        assert [item.seen_classes for item in found.checkpoints] == [2, 4]
        assert [item.in_distribution for item in found.checkpoints] == [60, 120], (
            "only test images of classes seen are known"
        )
        assert not found.checkpoints[-1].by_head
        for item in found.checkpoints:
            assert tuple(item.detectors) == DETECTORS
            assert sum(taken.count for taken in item.taken_for) == 40
            assert item.threshold is not None and item.accepted_in_distribution is not None
        assert any(
            "NearestMean predicts by scores that were not trained with cross entropy" in note for note in report.notes
        )
        assert report.calibration is None and report.rejection is None and report.shift is None

    def test_the_figures_are_those_of_the_predictions(
        self, finished: Path, report: TrustReport, ood_images: Path
    ) -> None:
        """The confidence of out-of-distribution images, computed here from the classifier itself."""
        given = opened(finished, *NOISY, *STREAM, "--model.strategy=NearestMean")
        model, data = given.model, given.datamodule
        images = [
            torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) for path in sorted(ood_images.rglob("*.png"))
        ]
        model.eval()
        with torch.no_grad():
            confidence = model(torch.stack([data.eval_transform(image) for image in images])).softmax(1).amax(1)
        assert report.out_of_distribution is not None
        last = report.out_of_distribution.checkpoints[-1]
        assert last.mean_confidence_ood == pytest.approx(float(confidence.mean()), abs=1e-4)
        assert last.accepted_ood == pytest.approx(float((confidence >= last.threshold).float().mean()), abs=0.03)

    def test_each_image_passes_the_backbone_once(self, run: Path, ood_images: Path) -> None:
        options = (*NOISY, *STREAM, "--model.strategy=NearestMean", f"--data.cache_dir={run / 'empty'}")
        given = opened(run / "checkpoints" / "experience=0000.ckpt", *options)
        model, data = given.model, given.datamodule
        before, modes = model.network.backbone_images, [module.training for module in model.modules()]
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        assess(given, TrustOptions(ood_data=str(ood_images)))
        first = data.stream[0]
        passed = len(first.indices) + len(first.val_indices) + 60 + 40
        assert model.network.backbone_images - before == passed
        assert [module.training for module in model.modules()] == modes
        assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())

    def test_what_the_run_has_cached_passes_no_more_at_any_checkpoint(self, run: Path) -> None:
        options = (*NOISY, *STREAM, "--model.strategy=NearestMean")
        ood_images = write_ood_images(run / "odd", side=54)  # that no other test has passed
        for passed in (40, 0):
            given = opened(run, *options)
            before = given.model.network.backbone_images
            found = assess(given, TrustOptions(ood_data=str(ood_images), calibrate=True))
            assert found is not None and found.report.out_of_distribution is not None
            assert [item.experience for item in found.report.out_of_distribution.checkpoints] == [0, 1]
            assert given.model.network.backbone_images - before == passed
        given = opened(run, *options, f"--data.cache_dir={run / 'empty'}")
        before, data = given.model.network.backbone_images, given.datamodule
        assess(given, TrustOptions(ood_data=str(ood_images), calibrate=True))
        assert given.model.network.backbone_images - before == len(data.samples) + 40, "each once for both checkpoints"

    def test_without_a_cache_the_figures_are_the_same(self, run: Path, ood_images: Path, report: TrustReport) -> None:
        direct = look(run, TrustOptions(ood_data=str(ood_images)), "--data.feature_cache_gb=0").out_of_distribution
        assert direct is not None and report.out_of_distribution is not None
        for one, other in zip(direct.checkpoints, report.out_of_distribution.checkpoints, strict=True):
            for name in ("accuracy", "mean_confidence_ood", "mean_confidence_in_distribution", "threshold"):
                assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-5)
            for name in DETECTORS:
                assert one.detectors[name].auroc == pytest.approx(other.detectors[name].auroc, abs=1e-5)

    def test_the_same_again(self, run: Path, ood_images: Path, report: TrustReport) -> None:
        again = look(run, TrustOptions(ood_data=[str(ood_images)]))
        assert again.out_of_distribution == report.out_of_distribution

    def test_the_table(self, report: TrustReport) -> None:
        with (Path(report.checkpoint).parents[1] / "trust" / "out_of_distribution.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [(row["experience"], row["score"]) for row in rows] == [(e, name) for e in "01" for name in DETECTORS]
        assert report.out_of_distribution is not None
        assert float(rows[5]["auroc"]) == report.out_of_distribution.checkpoints[1].detectors["maximum softmax"].auroc

    def test_without_validation_images_there_is_no_threshold(self, run: Path, ood_images: Path) -> None:
        report = look(run, TrustOptions(ood_data=str(ood_images)), "--data.val_fraction=0")
        assert report.out_of_distribution is not None
        assert [(item.threshold, item.accepted_ood) for item in report.out_of_distribution.checkpoints] == [
            (None, None)
        ] * 2
        assert any("no threshold for accepting images" in note for note in report.notes)


class TestOverlap:
    def test_a_folder_with_the_name_of_a_class(self, run: Path, tmp_path: Path) -> None:
        folder = write_ood_images(tmp_path / "odd", ("yellow", "purple"), count=2)
        (folder / "purple").rename(folder / "Grey")
        with pytest.raises(DataError, match=r"found a folder in .*odd with the name of a class: 'Grey'"):
            look(run, TrustOptions(ood_data=str(folder)))
        with pytest.raises(DataError, match="with the name of a class: 'Grey'"):
            look(run, TrustOptions(ood_data=str(folder / "Grey")))
        assert not (run / "trust").exists()

    def test_a_copy_and_a_near_copy(self, tmp_path: Path) -> None:
        """One file is the same byte for byte, another was saved smaller."""
        photos = tmp_path / "photos"
        for name in ("cats", "dogs"):
            write_ood_images(photos / name, ("yellow",), count=12)
        for number, path in enumerate(sorted(photos.rglob("*.png"))):
            Image.fromarray(np.roll(np.array(Image.open(path)), 7 * number, axis=0)).save(path)
        options = ("--data=ImageFolder", f"--data.root={photos}", "--data.image_size=32", "--data.on_leak=warn", "--data.stream.experiences=1", "--data.classes_from=folder")  # fmt: skip
        run = fit(tmp_path, "run", *options)
        odd = write_ood_images(tmp_path / "odd", ("purple",), count=3)
        shutil.copy(photos / "cats" / "yellow" / "3.png", odd / "copy.png")
        Image.open(photos / "dogs" / "yellow" / "5.png").resize((44, 44)).save(odd / "purple" / "smaller.png")
        with pytest.raises(DataError, match=r"2 images of .*odd are in the data too:") as caught:
            assess(opened(run, *options), TrustOptions(ood_data=str(odd)))
        assert "copy.png is a copy of cats/yellow/3.png" in str(caught.value)
        assert "purple/smaller.png looks like dogs/yellow/5.png" in str(caught.value)


class TestCalibration:
    @pytest.fixture(scope="class")
    def report(self, finished: Path, tmp_path_factory: pytest.TempPathFactory) -> TrustReport:
        copied = shutil.copytree(finished, tmp_path_factory.mktemp("calibrated") / "run")
        return look(copied, TrustOptions(calibrate=True, coverage=0.8))

    @pytest.fixture
    def calibrated(self, report: TrustReport) -> Path:
        """The run directory of the report."""
        return Path(report.checkpoint).parents[1]

    def test_the_temperature_is_kept_and_predictions_stay(
        self, calibrated: Path, report: TrustReport, finished: Path
    ) -> None:
        calibration, kept = report.calibration, checkpoint_of(calibrated)[KEY]
        assert calibration is not None and calibration.determined
        assert kept["temperature"] == calibration.temperature != 1.0
        assert (calibration.validation_images, calibration.test_images) == (72, 120)
        assert calibration.nll_after < calibration.nll_before
        assert calibration.ece_before is not None and calibration.ece_after is not None
        assert calibration.ece_after < calibration.ece_before
        assert KEY not in checkpoint_of(calibrated, 0) and KEY not in checkpoint_of(finished)
        results = json.loads((calibrated / "results.json").read_text())
        assert calibration.ece_before == pytest.approx(results["test"]["ece"], abs=1e-3)

    def test_the_threshold_is_chosen_on_validation_and_reported_on_test(
        self, calibrated: Path, report: TrustReport
    ) -> None:
        rejection, kept = report.rejection, checkpoint_of(calibrated)[KEY]
        assert rejection is not None and rejection.test is not None
        assert (rejection.target, rejection.wanted) == ("coverage", 0.8)
        assert rejection.validation.coverage >= 0.8 and rejection.validation.images == 72
        assert rejection.test.images == 120 and rejection.ood_accepted is None
        assert kept["threshold"] == rejection.threshold
        assert (kept["coverage"], kept["risk"]) == (rejection.validation.coverage, rejection.validation.risk)
        with (calibrated / "trust" / "risk_coverage.csv").open() as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        assert len(rows) == 120 and rows[-1]["coverage"] == 1
        assert np.mean([row["risk"] for row in rows]) == pytest.approx(rejection.aurc)
        accepted = [row for row in rows if row["confidence"] >= rejection.threshold]
        assert accepted[-1]["coverage"] == pytest.approx(rejection.test.coverage)
        assert accepted[-1]["risk"] == pytest.approx(rejection.test.risk)

    def test_the_diagram_comes_to_the_error(self, calibrated: Path, report: TrustReport) -> None:
        with (calibrated / "trust" / "reliability.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 30
        assert report.calibration is not None
        for name, error in (("before", report.calibration.ece_before), ("after", report.calibration.ece_after)):
            bins = [row for row in rows if row["calibration"] == name]
            total = sum(int(row["images"]) * abs(float(row["accuracy"]) - float(row["confidence"])) for row in bins)
            assert total / 120 == pytest.approx(error)
        for name in ("reliability.png", "risk_coverage.png"):
            with Image.open(calibrated / "trust" / name) as image:
                assert image.width > 500

    def test_a_risk_with_ood_images_and_then_a_new_temperature(self, run: Path, ood_images: Path) -> None:
        """The second call lets go of what belongs to the first: its threshold and its files."""
        report = look(run, TrustOptions(risk=0.1, ood_data=str(ood_images)))
        assert report.rejection is not None and report.rejection.validation.risk is not None
        assert report.rejection.target == "risk" and report.rejection.validation.risk <= 0.1
        assert report.rejection.ood_accepted is not None
        assert (run / "trust" / "out_of_distribution.csv").is_file() and (
            run / "trust" / "ood-score-energy.png"
        ).is_file()
        assert checkpoint_of(run)[KEY]["threshold"] == report.rejection.threshold
        report = look(run, TrustOptions(calibrate=True))
        assert any("in the checkpoint belonged to the former temperature" in note for note in report.notes)
        assert checkpoint_of(run)[KEY]["threshold"] is None
        assert {path.name for path in (run / "trust").iterdir()} == {
            "trust.json", "trust.html", "reliability.png", "reliability.csv",
        }  # fmt: skip
        assert report.out_of_distribution is None and report.rejection is None

    def test_validation_data_that_is_too_small(self, run: Path) -> None:
        with pytest.raises(DataError, match="too small to fit a temperature: expected at least 50 images"):
            look(run, TrustOptions(calibrate=True), "--data.per_class=40")
        assert KEY not in checkpoint_of(run)
        assert not (run / "trust").exists()

    def test_where_all_is_right(self, tmp_path: Path) -> None:
        easy = ("--data.per_class=90", "--data.noise=5", "--data.stream.experiences=1", "--model.base_epochs=4")
        run = fit(tmp_path, "run", *easy)
        assess(opened(run, *easy), TrustOptions(coverage=0.9))
        report = read_trust_report(run / "trust" / "trust.json")
        assert report.calibration is not None and not report.calibration.determined
        assert checkpoint_of(run)[KEY]["temperature"] == 1.0
        assert any("no temperature is best" in note for note in report.notes)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (TrustOptions(coverage=0.9, risk=0.1), "give one of the two"),
        (TrustOptions(coverage=0.0), r"--coverage: expected a share above 0 and up to 1, found 0\.0"),
        (TrustOptions(coverage=1.5), "--coverage: expected"),
        (TrustOptions(risk=1.0), r"--risk: expected a share from 0 to below 1, found 1\.0"),
    ],
)
def test_shares_that_are_none(options: TrustOptions, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        options.check()


def test_they_are_refused_before_the_test(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An evaluation can take an hour, and the figures of the run were rewritten before."""
    before = (run / "results.json").stat().st_mtime_ns
    words = ["test", "--ckpt_path", str(run), "--trust_run", "true", "--coverage", "95"]
    refused(capsys, words, 2, "--coverage: expected a share above 0 and up to 1, found 95.0")
    assert (run / "results.json").stat().st_mtime_ns == before


def test_what_is_asked() -> None:
    assert not TrustOptions().asked and not TrustOptions(output="here").asked
    assert TrustOptions(risk=0.1).fits and TrustOptions(risk=0.1).asked
    assert TrustOptions(new_images="photos").asked and not TrustOptions(new_images="photos").fits


def test_a_report_of_version_0_1_is_read(tmp_path: Path) -> None:
    """All sections, written by that version; figures are rounded."""
    path = Path(__file__).with_name("trust_schema_1.json")
    then, now = json.loads(path.read_text()), read_trust_report(path)
    assert then["schema"] == 1 and now.version == 2
    assert now.calibration is not None and now.rejection is not None
    assert now.calibration.validation_images == then["calibration"]["validation_pictures"]
    assert now.rejection.validation.images == then["rejection"]["validation"]["pictures"]
    assert now.rejection.ood_accepted == then["rejection"]["strangers_accepted"]
    found, former = now.out_of_distribution, then["unknown"]
    assert found is not None and found.images == former["pictures"] == 24
    last, before = found.checkpoints[-1], former["checkpoints"][-1]
    assert (last.in_distribution, last.accepted_ood) == (before["known"], before["accepted_unknown"])
    assert last.detectors["energy"].aupr_ood == before["detectors"]["energy"]["aupr_unknown"]
    assert now.shift is not None and now.shift.same_session is not None and now.shift.labels is not None
    assert now.shift.labels.correct == then["shift"]["labels"]["right"]
    assert now.shift.same_session.words == then["shift"]["one_shoot"]["words"]
    write_trust_report(now, tmp_path / "trust.json")
    assert read_trust_report(tmp_path / "trust.json") == now


def test_a_class_called_as_a_field_was_keeps_its_name() -> None:
    content = {"schema": 1, "shift": {"labels": {"right": 3, "per_class": {"known": 0.5, "right": 1.0}}}}
    assert from_schema_1(content) == {
        "schema": 2,
        "shift": {"labels": {"correct": 3, "per_class": {"known": 0.5, "right": 1.0}}},
    }


def test_a_report_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"Expected a trust\.json of schema 2 or earlier"):
        read_trust_report(tmp_path / "trust.json")
    (tmp_path / "trust.json").write_text('{"schema": 3}')
    with pytest.raises(CheckpointError, match=r"found schema 3, which a newer lightning_vision wrote: update"):
        read_trust_report(tmp_path / "trust.json")
    (tmp_path / "trust.json").write_text('{"schema": 2}')
    with pytest.raises(CheckpointError, match=r"found \d+ problems"):
        read_trust_report(tmp_path / "trust.json")
    (tmp_path / "trust.json").write_text("[]")
    with pytest.raises(CheckpointError, match="found 1 problems"):
        read_trust_report(tmp_path / "trust.json")
