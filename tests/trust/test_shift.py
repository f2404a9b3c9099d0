"""New images against training images: photos written with a camera's times, on one table or on many."""

import calendar
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import fit
from PIL import Image
from trusting import opened

from lightning_vision.trust.command import assess
from lightning_vision.trust.options import TrustOptions
from lightning_vision.trust.report import Finding, TrustReport, read_trust_report
from lightning_vision.trust.shift import same_session

CLASSES = {"cup": (200, 40, 40), "fork": (40, 40, 200)}
MONDAY = calendar.timegm((2026, 3, 2, 12, 0, 0))


def shoot(root: Path, count: int, seed: int, *, table: int | None, taken: float | None, light: float = 1.0) -> Path:
    """Blobs in the middle of a table, one a minute; ``table`` None: each on one of its own."""
    generator = np.random.default_rng(seed)
    for name, colour in CLASSES.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            kind = np.random.default_rng(1000 + (generator.integers(10**6) if table is None else table))
            image = np.kron(kind.uniform(30, 220, (8, 8, 3)), np.ones((8, 8, 1)))
            top, left = generator.integers(12, 28, 2)
            image[top : top + 24, left : left + 24] = colour
            image = light * (image + generator.normal(0, 4, image.shape))
            exif = Image.Exif()
            if taken is not None:
                moment = time.gmtime(taken + 60 * number)
                exif.get_ifd(0x8769)[0x9003] = time.strftime("%Y:%m:%d %H:%M:%S", moment)
            path = root / name / f"{seed}-{number}.jpg"
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path, exif=exif)
    return root


def options_of(photos: Path) -> tuple[str, ...]:
    return (
        "--data=ImageFolder", f"--data.root={photos}", "--data.image_size=32", "--data.num_workers=0", "--data.batch_size=16",
        "--data.stream.experiences=1", "--data.train_transforms=[resize]", "--data.eval_transforms=[resize]",
    )  # fmt: skip


def look(folder: Path, photos: Path, new: Path) -> TrustReport:
    run = fit(folder, "run", *options_of(photos))
    assess(opened(run, *options_of(photos)), TrustOptions(new_images=str(new)))
    return read_trust_report(run / "trust" / "trust.json")


def finding(found: list[Finding], about: str) -> Finding:
    (one,) = [item for item in found if item.about == about]
    return one


class TestOneTable:
    """A data set shot in one go, and new images of another day, on another table, in poor light."""

    @pytest.fixture(scope="class")
    def report(self, tmp_path_factory: pytest.TempPathFactory) -> TrustReport:
        folder = tmp_path_factory.mktemp("one_table")
        photos = shoot(folder / "photos", 25, 0, table=7, taken=MONDAY)
        new = shoot(folder / "new", 15, 1, table=8, taken=MONDAY + 86_400, light=0.4)
        shutil.copy(photos / "cup" / "0-3.jpg", new / "cup" / "old.jpg")
        return look(folder, photos, new)

    def test_training_and_test_come_from_the_same_session(self, report: TrustReport) -> None:
        assert report.shift is not None and report.shift.same_session is not None
        found = report.shift.same_session
        assert found.warning and "seem to come from the same capture session" in found.words
        assert found.figures["were taken within ten minutes of a training image"] == 1.0
        assert found.figures["have the background of a training image"] == 1.0
        times = finding(report.shift.test, "times")
        assert times.warning and "According to EXIF times" in times.words
        assert times.figures["sessions_shared"] == times.figures["sessions_first"] == 1

    def test_the_new_images_are_of_another_day_place_and_light(self, report: TrustReport) -> None:
        assert report.shift is not None
        new = report.shift.new
        assert finding(new, "times").figures["near"] == pytest.approx(1 / 31), "the one that was copied"
        assert not finding(new, "times").warning
        light = finding(new, "light")
        assert light.warning and "New images are darker" in light.words
        assert finding(new, "background").warning
        assert finding(new, "copies").figures["exact"] == 1 and finding(new, "copies").warning
        features = finding(new, "features")
        assert features.warning and features.figures["auc"] == pytest.approx(1.0, abs=0.05)
        assert features.figures["p_value"] is not None and features.figures["p_value"] <= 0.01
        assert "For the test images of the data, that area is" in features.words

    def test_accuracy_on_labelled_images(self, report: TrustReport) -> None:
        assert report.shift is not None and report.shift.labels is not None
        labels = report.shift.labels
        assert labels.labelled == report.shift.images == 31
        assert labels.accuracy == labels.correct / 31
        assert labels.per_class.keys() == {"cup", "fork"}
        weights = {"cup": 16, "fork": 15}
        assert sum(labels.per_class[name] * weights[name] for name in weights) == pytest.approx(labels.correct)


class TestManyTables:
    """Every image on a table of its own, weeks apart; the new ones are like them, and bear no labels."""

    @pytest.fixture(scope="class")
    def report(self, tmp_path_factory: pytest.TempPathFactory) -> TrustReport:
        folder = tmp_path_factory.mktemp("many_tables")
        photos = shoot(folder / "photos", 40, 2, table=None, taken=None)
        new = shoot(folder / "new", 20, 3, table=None, taken=None)
        for name in CLASSES:
            (new / name).rename(new / f"day of {name}")
        return look(folder, photos, new)

    def test_nothing_is_found_where_nothing_is(self, report: TrustReport) -> None:
        assert report.shift is not None and report.shift.same_session is not None
        assert not report.shift.same_session.warning
        assert [item.about for item in report.shift.new if item.warning] == []
        assert "Times are not known" in finding(report.shift.new, "times").words
        assert "Places are not known" in finding(report.shift.new, "places").words

    def test_without_labels_there_is_no_accuracy(self, report: TrustReport) -> None:
        assert report.shift is not None and report.shift.labels is None
        assert (
            "have no labels: a different mix of classes may be the reason"
            in finding(report.shift.new, "features").words
        )


def test_two_signs_of_three_are_needed() -> None:
    assert not same_session({}).warning
    alone = same_session({"have the background of a training image": 0.9})
    assert not alone.warning and "One sign of three" in alone.words
    both = same_session({"have the background of a training image": 0.9, "look similar to a training image": 0.5})
    assert both.warning and "90 % of the test images have the background" in both.words
