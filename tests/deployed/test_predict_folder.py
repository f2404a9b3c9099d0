"""``predict --model F.onnx DIR``: every image of a folder gets a row, in bounded memory, and a page shows the doubtful ones."""

import csv
import os
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from archive_maker import pack
from broken_images import write_cut_short
from deployed.onnx_maker import write_model
from photo_folder import write_photos
from test_data_page import HOSTILE, Page, check

from lightning_vision.deployed.image_walk import ImageWalk
from lightning_vision.deployed.model_file import DeployedModel
from lightning_vision.deployed.on_device import OnDeviceClassifier
from lightning_vision.deployed.predict_folder import predict
from lightning_vision.deployed.prediction_table import PredictionTable
from lightning_vision.deployed.preprocessing import ImageInput
from lightning_vision.deployed.tally import Tally
from lightning_vision.errors import CheckpointError, ConfigError, DataError, TrainingError


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m.onnx", temperature=2.0, threshold=0.6)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos", per_class=5)


def test_an_archive_is_read_as_its_folder(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = pack(photos, tmp_path / "packed.zip", "photos")
    for given, name in ((photos, "one.csv"), (archive, "two.csv")):
        assert predict(["--model", str(model), str(given), "--output", str(tmp_path / name)]) == 0
    assert rows_of(tmp_path / "one.csv") == rows_of(tmp_path / "two.csv")
    assert "packed.zip: 15 images unpacked to" in capsys.readouterr().out


class TestGiven:
    def test_files_patterns_folders_archives_and_lists(self, model: Path, photos: Path, tmp_path: Path) -> None:
        """By the names that were given, in this order."""
        archive = pack(photos / "cats", tmp_path / "packed.zip", "cats")
        (photos / "cats" / "notes.md").write_text("x", encoding="utf-8")
        (tmp_path / "list.txt").write_text(f"# cats\nphotos/cats/0001.jpg\n\n{photos}/cats/*\n", encoding="utf-8")
        one = str(photos / "cats" / "0000.jpg")
        words = [one, str(photos / "*" / "0002.jpg"), str(archive), str(photos), str(tmp_path / "list.txt")]
        assert predict(["--model", str(model), *words, "--output", str(tmp_path / "out.csv")]) == 0
        paths = [row["path"] for row in rows_of(tmp_path / "out.csv")]
        assert paths[0] == one and len(paths) == 1 + 3 + 5 + 15 + 1 + 5
        assert paths[1:4] == sorted(map(str, photos.glob("*/0002.jpg")))
        assert (
            paths[4].startswith(f"{archive}/")
            and paths[9].startswith(f"{photos}/")
            and paths[24] == "photos/cats/0001.jpg"
        )
        alone = [row for row in rows_of(tmp_path / "out.csv") if row["path"].endswith("cats/0000.jpg")]
        assert len({tuple(list(row.values())[1:-1]) for row in alone}) == 1
        assert (tmp_path / "out.html").is_file()

    @pytest.mark.parametrize(
        ("word", "match"),
        [
            ("clip.mp4", r"clip\.mp4 is a video\. .*predict --ckpt_path RUN VIDEO"),
            ("notes.md", r"expected an image, .*notes\.md is of another kind"),
            ("*.jpg", r"no image matches '.*\*\.jpg', which matches 0 other files"),
            ("list.txt", r"list\.txt line 2: predict: expected an image, .*gone\.jpg does not exist"),
        ],
    )
    def test_what_is_no_image(self, word: str, match: str, model: Path, photos: Path, tmp_path: Path) -> None:
        for name, content in (("clip.mp4", "x"), ("notes.md", "x"), ("list.txt", f"{photos}\ngone.jpg\n")):
            (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=match):
            predict(["--model", str(model), str(photos), str(tmp_path / word)])


class TestTable:
    def test_a_row_for_each_image(self, model: Path, photos: Path, tmp_path: Path) -> None:
        write_photos(photos / "new" / "today", classes=["cats", "dogs"], per_class=2)
        (photos / "new" / "today" / "dogs").rename(photos / "new" / "today" / "owls")
        assert (
            predict(
                ["--model", str(model), str(photos), "--output", str(tmp_path / "new" / "out.csv"), "--batch_size", "4"]
            )
            == 0
        )
        rows = rows_of(tmp_path / "new" / "out.csv")
        paths = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))
        assert [row["path"] for row in rows] == paths and len(paths) == 19
        deployed = DeployedModel(model)
        found = deployed.predict([photos / path for path in paths])
        names = deployed.class_names
        assert [row["predicted"] for row in rows] == [names[number] for number in found.predicted]
        columns = np.array([[float(row[f"probability/{name}"]) for name in names] for row in rows])
        assert np.abs(columns - found.probability).max() < 1e-5
        assert [row["confidence"] for row in rows] == [f"{value:.6g}" for value in found.confidence]
        rejected = deployed.rejected(found)
        assert [row["rejected"] for row in rows] == [str(value) for value in rejected.tolist()]
        assert 0 < rejected.sum() < 19
        folders = [path.split("/")[-2] for path in paths]
        assert [row["true"] for row in rows] == ["" if name == "owls" else name for name in folders]

    def test_what_is_said(self, model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (photos / "cats" / ".DS_Store").write_text("x")
        (photos / "notes.txt").write_text("x")
        (photos / "cats" / "empty.jpg").touch()
        predict(["--model", str(model), str(photos), "--output", str(tmp_path / "out.csv"), "--gallery", "false"])
        said = capsys.readouterr().out
        rows = rows_of(tmp_path / "out.csv")
        kept = [row for row in rows if row["rejected"] == "False"]
        right, right_and_kept = (sum(row["predicted"] == row["true"] for row in part) for part in (rows, kept))
        assert (
            "m.onnx: 3 classes, fields, strategies.MoveToData; temperature 2, rejected below a confidence of 0.6."
            in said
        )
        assert "Predicted: 15, " in said and f"Rejected: {15 - len(kept)} of 15." in said
        assert (
            f"Accuracy: {right / 15:.4f} on 15 images in folders named after a class; {right_and_kept / len(kept):.4f} on the "
            f"{len(kept)} that were not rejected." in said
        )
        assert sorted(said.partition("Skipped: ")[2].split(".\n")[0].split(", ")) == [
            "1 empty",
            "1 hidden",
            "1 of another kind (1 .txt)",
        ]
        assert "Page" not in said and not (tmp_path / "out.html").exists()

    def test_files_that_are_not_images_are_listed_and_the_others_predicted(
        self, model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_cut_short(photos / "cats" / "half.jpg")
        (photos / "dogs" / "text.png").write_text("no image")
        output = tmp_path / "out.csv"
        assert predict(["--model", str(model), str(photos), "--output", str(output)]) == 0
        assert len(rows_of(output)) == 15
        unread = rows_of(tmp_path / "out-unread.csv")
        assert [row["path"] for row in unread] == ["cats/half.jpg", "dogs/text.png"]
        assert "truncated" in unread[0]["reason"] and "UnidentifiedImageError" in unread[1]["reason"]
        said = capsys.readouterr().out
        assert "Not read: 2, listed in" in said and "text.png cannot be decoded" in said
        (photos / "cats" / "half.jpg").unlink()
        (photos / "dogs" / "text.png").unlink()
        predict(["--model", str(model), str(photos), "--output", str(output)])
        assert not (tmp_path / "out-unread.csv").exists(), "an earlier list does not stay"

    def test_the_head_that_learned_here_is_used(
        self, model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        learner = OnDeviceClassifier(model)
        for photo in sorted((photos / "cats").iterdir()):
            learner.learn(photo, "cats", 0.5)
        learner.save()
        words = ["--model", str(model), str(photos), "--gallery", "false", "--output"]
        predict([*words, str(tmp_path / "with.csv")])
        assert "m.head.npz, trained on 5 images on this device (--head none: do not use it)." in capsys.readouterr().out
        predict([*words, str(tmp_path / "without.csv"), "--head", "none"])
        assert "on this device" not in capsys.readouterr().out
        cats = [
            np.mean(
                [float(row["probability/cats"]) for row in rows_of(tmp_path / f"{name}.csv") if row["true"] == "cats"]
            )
            for name in ("with", "without")
        ]
        assert cats[0] > cats[1] + 0.01
        expected = [learner.predict(photos / row["path"]).probability[0, 1] for row in rows_of(tmp_path / "with.csv")]
        assert np.allclose(
            expected, [float(row["probability/cats"]) for row in rows_of(tmp_path / "with.csv")], atol=1e-5
        )

    def test_links_are_followed_but_not_in_circles(self, photos: Path) -> None:
        (photos / "cats" / "back").symlink_to(photos)
        (photos / "cats" / "itself").symlink_to(photos / "cats" / "itself")
        (photos / "gone.jpg").symlink_to(photos / "nothing.jpg")
        (photos / "felines").symlink_to(photos / "cats")
        walk = ImageWalk(photos)
        assert len(list(walk)) == 20
        assert walk.counted() == "3 broken links, 2 links to a folder above"


class Counting:
    """Prepares images, and knows how many of them are still alive."""

    def __init__(self, prepare: Any) -> None:
        self.prepare, self.lock, self.alive, self.most = prepare, threading.RLock(), 0, 0

    def __call__(self, image: ImageInput) -> npt.NDArray[np.uint8]:
        made: npt.NDArray[np.uint8] = self.prepare(image)
        with self.lock:
            self.alive += 1
            self.most = max(self.most, self.alive)
        weakref.finalize(made, self.gone)
        return made

    def gone(self) -> None:
        with self.lock:
            self.alive -= 1


def test_no_more_than_a_few_batches_are_in_memory(model: Path, tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "many", classes=["cats"], per_class=1)
    for number in range(1, 400):
        os.link(folder / "cats" / "0000.jpg", folder / "cats" / f"{number:04d}.jpg")
    deployed = DeployedModel(model)
    counting = Counting(deployed.facts.preprocessing)
    deployed.facts = replace(deployed.facts, preprocessing=counting)  # type: ignore[arg-type]
    table = PredictionTable(deployed, ImageWalk(folder), tmp_path / "out.csv", batch_size=8, most=3)
    done: list[int] = []
    table.write(done.append)
    assert done == [8] * 50
    assert len(rows_of(tmp_path / "out.csv")) == 400 and len(table.tally.unsure) == 3
    assert counting.most <= 3 * 8
    assert counting.alive == 0


class TestPage:
    def test_the_page_is_self_contained_for_any_file_names(self, tmp_path: Path) -> None:
        names = ["birds", "cats", HOSTILE[1]]
        model = write_model(tmp_path / "m.onnx", class_names=names, temperature=2.0, threshold=0.5)
        photos = write_photos(tmp_path / "photos <b>", per_class=3)
        for number, name in enumerate(HOSTILE):
            folder = os.fsencode(photos) + b"/" + name.encode("utf-8", "surrogateescape").replace(b"/", b"|")
            os.mkdir(folder)  # noqa: PTH102 - a Path may hold no bytes that are no UTF-8
            os.link(photos / "cats" / f"000{number % 3}.jpg", folder + b"/x.jpg")
        (photos / "broken <i>.jpg").write_text("no image")
        predict(["--model", str(model), str(photos), "--output", str(tmp_path / "out.csv"), "--gallery", "8"])
        page = Page(tmp_path / "out.html")
        check(page)
        rows = rows_of(tmp_path / "out.csv")
        assert len(rows) == 9 + len(HOSTILE)
        sections = list(page.root.all("section"))
        assert [next(section.all("h2")).words() for section in sections] == [
            "Classes",
            "Least confident predictions",
            "Most confident errors",
            "Files without a prediction",
        ]
        unsure = [figure.words() for figure in sections[1].all("figure")]
        ordered = sorted(rows, key=lambda row: float(row["confidence"]))
        assert len(unsure) == 8 and f"{100 * float(ordered[0]['confidence']):.1f}\N{NO-BREAK SPACE}%" in unsure[0]
        wrong = [row for row in rows if row["true"] and row["true"] != row["predicted"]]
        shown = [figure.words() for figure in sections[2].all("figure")]
        assert len(shown) == min(8, len(wrong)) and all("true: " in text for text in shown)
        assert "cannot be decoded" in sections[3].words()
        assert all(max(image.size) == 40 for image in page.images()), "small images are not enlarged"

    def test_the_table_of_classes_adds_up(self, model: Path, photos: Path, tmp_path: Path) -> None:
        predict(["--model", str(model), str(photos), "--output", str(tmp_path / "out.csv")])
        rows = rows_of(tmp_path / "out.csv")
        page = Page(tmp_path / "out.html")
        check(page)
        for name, predicted, rejected, in_folder, right, _ in page.rows(0):
            mine = [row for row in rows if row["predicted"] == name]
            true = [row for row in rows if row["true"] == name]
            assert int(predicted) == len(mine)
            assert int(rejected) == sum(row["rejected"] == "True" for row in mine)
            assert int(in_folder) == len(true) == 5
            assert right == f"{20 * sum(row['predicted'] == name for row in true):.1f}\N{NO-BREAK SPACE}%"


def test_the_tally_keeps_the_least_confident_and_the_most_confident_errors() -> None:
    tally = Tally(("a", "b"), most=2)
    for number, share in enumerate([0.9, 0.55, 0.7, 0.55, 0.99]):
        tally.add(f"b/{number}.jpg", np.array([share, 1 - share]), rejected=share < 0.6)
    assert [case.path for case in tally.unsure] == ["b/1.jpg", "b/3.jpg"]
    assert [case.path for case in tally.errors] == ["b/4.jpg", "b/0.jpg"]
    assert tally.errors[0].second == "b" and tally.errors[0].second_probability == pytest.approx(0.01)
    assert tally.predicted.tolist() == [5, 0] and tally.true.tolist() == [0, 5] and tally.right.tolist() == [0, 0]
    assert tally.rejected.tolist() == [2, 0] and tally.true_and_kept == 3


class TestRefused:
    def test_options(self, model: Path, photos: Path) -> None:
        with pytest.raises(ConfigError, match=r"predict: the following arguments are required: --model"):
            predict([str(photos)])
        with pytest.raises(ConfigError, match="--batch_size: expected 1 or more, found 0"):
            predict(["--model", str(model), str(photos), "--batch_size", "0"])
        with pytest.raises(ConfigError, match="--gallery: expected true, false or a number of images, found 'no'"):
            predict(["--model", str(model), str(photos), "--gallery", "no"])

    def test_folders(self, model: Path, photos: Path, tmp_path: Path) -> None:
        words = ["--model", str(model), "--output", str(tmp_path / "out.csv")]
        with pytest.raises(DataError, match=r"expected an image, a folder, an archive, .*; .*gone does not exist"):
            predict([*words, str(tmp_path / "gone")])
        with pytest.raises(
            DataError, match=r"expected an image, a folder, .*; .*m\.onnx is of another kind \(\.onnx\)"
        ):
            predict([*words, str(model)])
        (tmp_path / "none").mkdir()
        (tmp_path / "none" / "notes.txt").write_text("x")
        with pytest.raises(
            DataError, match=r"Expected images in .*none or in folders below, found none\. Skipped: 1 of another kind"
        ):
            predict([*words, str(tmp_path / "none")])
        (tmp_path / "none" / "a.jpg").write_text("x")
        with pytest.raises(
            DataError, match=r"None of the 1 images in .*none could be read\. The first: .*a\.jpg cannot be decoded"
        ):
            predict([*words, str(tmp_path / "none")])
        assert not (tmp_path / "out.csv").exists() and not list(tmp_path.glob(".*"))

    def test_a_damaged_model_and_head(self, model: Path, photos: Path, tmp_path: Path) -> None:
        (tmp_path / "m.head.npz").write_bytes(b"no head")
        with pytest.raises(CheckpointError, match=r"m\.head\.npz is not a head file, or is damaged"):
            predict(["--model", str(model), str(photos), "--output", str(tmp_path / "out.csv")])
        model.write_bytes(model.read_bytes()[:-1])
        with pytest.raises(CheckpointError, match=r"m\.onnx was altered or damaged"):
            predict(["--model", str(model), str(photos), "--output", str(tmp_path / "out.csv")])

    def test_an_output_that_cannot_be_written(self, model: Path, photos: Path, tmp_path: Path) -> None:
        (tmp_path / "out.csv").mkdir()
        with pytest.raises(TrainingError, match=r"Cannot write .*out\.csv"):
            predict(["--model", str(model), str(photos), "--output", str(tmp_path / "out.csv")])
