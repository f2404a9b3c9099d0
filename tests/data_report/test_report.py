"""What is counted of the data, against the table and the images themselves."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from coloured_squares import ColouredSquares
from photo_folder import write_photos
from PIL import Image
from rich.console import Console

from datamodules import ImageFolder
from lightning_vision.data.leaks import LeakPair, Leaks
from lightning_vision.data.sample_table import SPLITS
from lightning_vision.data.scenarios import ClassIncremental, DomainIncremental, InstanceIncremental
from lightning_vision.data_report import report as data_report
from lightning_vision.data_report.report import DataReport, describe
from lightning_vision.data_report.terminal import print_report


def write_odd_photos(root: Path) -> Path:
    """Three classes of unequal size and images of many sizes; copies, an empty file, text, groups, domains."""
    write_photos(root, per_class=9)
    generator = np.random.default_rng(1)
    for number in range(12):
        pixels = generator.integers(0, 256, (6, 5, 3), dtype=np.uint8)
        width, height = 40 + 20 * number, 60 + 5 * number
        Image.fromarray(pixels).resize((width, height)).save(root / "cats" / f"large{number}.png")
    for number in range(6):
        shutil.copy(root / "dogs" / "0001.jpg", root / "dogs" / f"copy{number}.jpg")
    shutil.copy(root / "dogs" / "0002.jpg", root / "birds" / "no bird.jpg")
    (root / "dogs" / "empty.jpg").touch()
    (root / "dogs" / "notes.txt").write_text("x")
    (root / "cats" / "broken.jpg").write_text("x")
    return root


def folder(root: Path, **options: Any) -> ImageFolder:
    small: dict[str, Any] = {
        "num_workers": 0,
        "image_size": 32,
        "on_bad_image": "skip",
        "stream": InstanceIncremental(3),
    } | options
    return ImageFolder(root, **small)


def printed(report: DataReport, width: int = 100, **options: Any) -> str:
    text = io.StringIO()
    print_report(report, Console(file=text, width=width), **options)
    return text.getvalue()


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    return folder(write_odd_photos(tmp_path_factory.mktemp("data_report") / "photos"), class_weights="balanced")


@pytest.fixture(scope="module")
def report(odd: ImageFolder) -> DataReport:
    return describe(odd)


class TestCounts:
    def test_classes_and_splits(self, odd: ImageFolder, report: DataReport) -> None:
        table = pd.crosstab(odd.samples["label"], odd.samples["split"])[list(SPLITS)]
        assert report.counts.tolist() == table.to_numpy().tolist()
        assert report.totals.tolist() == [int((odd.samples["split"] == part).sum()) for part in SPLITS]
        assert report.class_names == ("birds", "cats", "dogs")
        trained = report.counts[:, 0]
        assert report.imbalance == pytest.approx(trained.max() / trained.min())
        assert report.class_weights == pytest.approx(odd.class_weight_values())

    def test_sizes(self, odd: ImageFolder, report: DataReport) -> None:
        assert [histogram.title for histogram in report.sizes] == ["width", "height", "aspect", "file size"]
        width, height, aspect, _ = report.sizes
        for histogram in report.sizes:
            assert histogram.counts.sum() == len(odd.samples)
            assert len(histogram.edges) == len(histogram.counts) + 1 and (np.diff(histogram.edges) > 0).all()
        assert (width.lowest, width.median, width.highest) == (40, 40, 260)
        assert (height.lowest, height.highest) == (40, 115)
        assert aspect.highest == pytest.approx(260 / 115) and aspect.logarithmic
        assert report.formats == (("JPEG", "RGB", len(odd.samples) - 12), ("PNG", "RGB", 12))

    def test_the_stream(self, odd: ImageFolder, report: DataReport) -> None:
        assert [(cut.name, cut.train, cut.val, cut.test) for cut in report.cuts] == [
            (item.name, len(item.indices), len(item.val_indices), len(item.test_indices)) for item in odd.stream
        ]
        assert [cut.new_classes for cut in report.cuts] == [3, 0, 0] and report.cuts[0].is_base
        (classes,) = report.crossings
        assert classes.names == report.class_names
        assert classes.counts.sum(axis=0).tolist() == report.counts[:, 0].tolist()
        assert classes.counts.sum(axis=1).tolist() == [cut.train for cut in report.cuts]

    def test_what_is_odd(self, report: DataReport) -> None:
        left_out = {reason.split(" (")[0]: len(paths) for reason, paths in report.skipped}
        assert left_out == {"empty": 1, "of another kind": 1, "cannot be decoded": 1}
        assert report.unread == 3
        assert report.leaks.found()["exact"] > 0 and report.leaks.counts()["label"] == 1
        assert not any("Leaks" in remark for remark in report.remarks), "told once"

    def test_brightness_is_that_of_the_evaluated_training_images(self, odd: ImageFolder, report: DataReport) -> None:
        rows = odd.samples.index[odd.samples["split"] == "train"]
        assert report.measured == report.measurable == len(rows)
        pixels = torch.stack([odd.preview(int(row)) for row in rows]).double() / 255  # (N, 3, H, W)
        assert report.mean == pytest.approx(pixels.mean(dim=(0, 2, 3)).tolist())
        assert report.deviation == pytest.approx(pixels.std(dim=(0, 2, 3), correction=0).tolist())

    def test_many_images_are_measured_in_part(self, odd: ImageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(data_report, "MOST_MEASURED", 5)
        one, again, other = describe(odd, seed=0), describe(odd, seed=0), describe(odd, seed=1)
        assert one.measured == 5 and one.measurable > 5
        assert one.mean == again.mean != other.mean
        assert one.examples == again.examples != other.examples

    def test_examples_are_training_images_of_their_class(self, odd: ImageFolder, report: DataReport) -> None:
        assert list(report.examples) == [0, 1, 2]
        for label, rows in report.examples.items():
            assert len(set(rows)) == 3
            assert (odd.samples.loc[list(rows), "label"] == label).all()
            assert (odd.samples.loc[list(rows), "split"] == "train").all()


class TestOtherData:
    def test_domains_and_groups(self, tmp_path: Path) -> None:
        for name in ("cats", "dogs"):
            for number in (10, 9):
                write_photos(
                    tmp_path / name / f"day {number}",
                    ["birds"],
                    per_class=8,
                    seed=number + len(name + "x" * (name == "cats")),
                )
        paths = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpg"))
        groups = [f"burst {row // 2}" if row % 8 < 4 else "" for row in range(len(paths))]
        pd.DataFrame({"path": paths, "group": groups}).to_csv(tmp_path / "facts.csv", index=False)
        data = folder(tmp_path, metadata="facts.csv", stream=DomainIncremental())
        report = describe(data)
        _, domains = report.crossings
        assert domains.names == ("day 9", "day 10"), "digits are read as numbers"
        assert domains.counts[0, 1] == domains.counts[1, 0] == 0
        assert domains.counts.sum() == report.totals[0]
        assert sum(item.groups for item in report.groups) == 8 and {item.largest for item in report.groups} == {2}
        assert sum(item.images for item in report.groups) == 16
        assert "Groups in the training data: " in printed(report)

    def test_images_that_are_no_files(self) -> None:
        report = describe(ColouredSquares(stream=ClassIncremental(2)))
        assert [histogram.title for histogram in report.sizes] == ["width", "height", "aspect"]
        assert all(len(histogram.counts) == 1 for histogram in report.sizes), "all of one size"
        assert report.crossings[0].counts.astype(bool).tolist() == [
            [True, True, False, False],
            [False, False, True, True],
        ]
        assert report.groups == () and report.class_weights is None
        assert "Leaks: none found." in printed(report)

    def test_classes_without_test_images(self, tmp_path: Path) -> None:
        write_photos(tmp_path / "train", per_class=6)
        write_photos(tmp_path / "test", ["cats"], per_class=2, seed=1)
        report = describe(folder(tmp_path))
        assert report.without["test"] == ["birds", "dogs"]
        assert "No test images: birds, dogs." in printed(report)

    def test_some_of_many_classes_are_shown(self) -> None:
        labels = np.repeat(np.arange(196), 5)
        split = np.array(["train"] * 980, dtype=object)
        shown = data_report._examples(labels, split, 196, seed=0)
        assert len(shown) == 40 and min(shown) == 0 and max(shown) == 195


class TestPrinted:
    def test_everything_is_there(self, odd: ImageFolder, report: DataReport) -> None:
        text = printed(report)
        for words in (
            f"{len(odd.samples)} images, 3 classes:",
            "Images per class",
            "The stream: InstanceIncremental",
            "increment 2",
            "aspect (width / height)",
            "12 PNG RGB",
            "evaluation transform",
            "Class weights in the loss: from",
            "Leaks: ",
            "has a different label than its copy",
            "Skipped: 1 file, empty.",
        ):
            assert words in text, words

    def test_names_are_no_markup_and_no_commands(self, odd: ImageFolder) -> None:
        report = describe(odd)
        names = ("[red]birds[/red]", "c\x1b[31mats\n", "d\udcf6gs\u202e")
        text = printed(DataReport(**{**vars(report), "class_names": names}))
        assert "[red]birds[/red]" in text
        assert r"c\x1b[31mats\n" in text and r"d\udcf6gs\u202e" in text
        assert "\x1b" not in text and text.encode()

    def test_many_classes_and_pairs_are_cut_short(self, report: DataReport) -> None:
        text = printed(report, most_classes=2)
        assert "The largest and the smallest of 3 classes" in text and "dogs" not in text.split("The stream")[0]
        many = Leaks(pairs=[LeakPair("near", 0, row, row % 3) for row in range(1, 9)])
        text = printed(DataReport(**{**vars(report), "leaks": many}))
        assert "looks like (1 bit of 64 differ)" in text and "and 3 more; see the page" in text

    def test_a_narrow_terminal(self, report: DataReport) -> None:
        assert "birds" in printed(report, width=40)
