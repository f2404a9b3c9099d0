"""Folder trees as people have them: each is read as it is meant, or refused with what is seen and what decides."""

import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datamodules import ImageFolder
from datamodules.folder_names import says_masks, split_name, why_no_classes
from lightning_vision.data.scenarios import DomainIncremental, FromColumn, Joint
from lightning_vision.errors import ConfigError, DataError


def fill(folder: Path, count: int = 4, first: int = 0, extension: str = "jpg") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(len(str(folder)))
    for number in range(first, first + count):
        pixels = generator.integers(0, 255, (12, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"p{number}.{extension}")
    return folder


def read(root: Path, **options: Any) -> ImageFolder:
    return ImageFolder(root, **{"num_workers": 0, "image_size": 16, "stream": Joint(), **options})


def splits(data: ImageFolder) -> dict[str, int]:
    return {str(part): int(count) for part, count in data.samples["split"].value_counts().items()}


class TestSplitWords:
    @pytest.mark.parametrize(
        ("train", "test"),
        [
            ("seg_train/seg_train", "seg_test/seg_test"),
            ("training_set", "test_set"),
            ("train_images", "test_images"),
            ("trainData", "testData"),
            ("trainset", "testset"),
            ("TRAIN-2017", "TEST-2017"),
            ("cars_train", "cars_test"),
            ("tr", "holdout"),
            ("train/images", "test/images"),
            ("training/training", "validation/validation"),
            ("train224", "hold-out"),
        ],
    )
    def test_by_their_parts(self, tmp_path: Path, train: str, test: str) -> None:
        for name in ("sea", "wood"):
            fill(tmp_path / train / name, 6)
            fill(tmp_path / test / name, 3, first=6)
        fill(tmp_path / "models" / "old" / "x", 1)
        (tmp_path / "notes").mkdir()
        data = read(tmp_path, val_fraction=0.0, test_fraction=0.0)
        assert data.class_names == ["sea", "wood"]
        assert splits(data) == {"train": 12, "val" if test.startswith("val") else "test": 6}

    def test_what_is_read_is_said(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for part in ("training_set", "test_set"):
            fill(tmp_path / part / "cats")
            fill(tmp_path / part / "dogs")
        read(tmp_path)
        said = capsys.readouterr().err
        assert "split folders by their names: test_set is test, training_set is train" in said
        assert "data.split_folders" in said

    @pytest.mark.parametrize(
        "names", [("bus", "car", "train"), ("test tube", "bullet train"), ("express train", "freight train")]
    )
    def test_classes_stay_classes(self, tmp_path: Path, names: tuple[str, ...]) -> None:
        for name in names:
            fill(tmp_path / name)
        assert read(tmp_path).class_names == sorted(names)

    def test_train_may_be_a_class_with_folders(self, tmp_path: Path) -> None:
        for name in ("bus", "train"):
            fill(tmp_path / name / "by day")
            fill(tmp_path / name / f"more {name}")
        with pytest.raises(
            DataError, match=r"'train' may be the training data or a class: 'bus' beside it .*split_folders=none"
        ):
            read(tmp_path)
        assert read(tmp_path, split_folders="none").class_names == ["bus", "train"]

    def test_the_option_decides(self, tmp_path: Path) -> None:
        for part in ("2024", "2025"):
            fill(tmp_path / part / "cats")
            fill(tmp_path / part / "dogs")
        with pytest.raises(DataError, match=r"hold folders of the same names, 'cats', 'dogs'.*data\.split_folders"):
            read(tmp_path)
        data = read(tmp_path, split_folders={"train": "2024", "test": ["2025"]}, val_fraction=0.0)
        assert data.class_names == ["cats", "dogs"] and splits(data) == {"train": 8, "test": 8}
        data = read(tmp_path, classes_from="parent")
        assert data.class_names == ["cats", "dogs"] and set(data.samples["domain"]) == {"2024", "2025"}
        assert read(tmp_path, classes_from="folder").class_names == ["2024", "2025"]
        assert read(tmp_path, stream=DomainIncremental()).class_names == ["2024", "2025"], "the user knows of domains"

    @pytest.mark.parametrize(
        ("given", "match"),
        [
            ("some", "expected none, or folders by split"),
            ({"learn": "a"}, "expected the keys train, val and test; found 'learn'"),
            ({"train": "b/c"}, "there is no folder 'b/c' in .*; it contains 'a'"),
        ],
    )
    def test_an_option_that_fits_nothing(self, tmp_path: Path, given: Any, match: str) -> None:
        fill(tmp_path / "a")
        with pytest.raises(ConfigError, match=match):
            read(tmp_path, split_folders=given)

    def test_two_sets_of_splits(self, tmp_path: Path) -> None:
        for name in ("cats_train", "cats_test", "dogs_train", "dogs_test"):
            fill(tmp_path / name / "a")
        with pytest.raises(DataError, match=r"several sets of split folders: 'cats_test', 'cats_train'; 'dogs_test'"):
            read(tmp_path)

    def test_splits_in_each_class_folder(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for name in ("cats", "dogs"):
            fill(tmp_path / name / "train", 5)
            fill(tmp_path / name / "test", 2, first=5)
        data = read(tmp_path, val_fraction=0.0)
        assert data.class_names == ["cats", "dogs"] and splits(data) == {"train": 10, "test": 4}
        assert "the folders in each class folder are read as splits" in capsys.readouterr().err

    def test_unlabelled_test_images_are_left_out(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        fill(tmp_path / "train" / "cats")
        fill(tmp_path / "train" / "dogs")
        fill(tmp_path / "test1", 30)
        assert len(read(tmp_path).samples) == 8
        assert "30 images directly in test1, and none in a class folder, are left out" in capsys.readouterr().err

    def test_names(self) -> None:
        assert [
            split_name(name) is not None for name in ("trainer", "testament", "device", "station", "a train b")
        ] == [False] * 5
        assert says_masks("ground_truth") and says_masks("masks_png") and not says_masks("masked singer")


class TestNoClasses:
    @pytest.mark.parametrize(
        ("names", "why"),
        [
            (("images_part_1", "images_part_2"), "what is in them"),
            (("batch1", "batch2", "batch10"), "what is in them"),
            (("HAM10000_part_1", "HAM10000_part_2"), "by a number only"),
            (("100APPLE", "101APPLE"), "by a number only"),
            (("scan 1", "scan 2"), "by a number only"),
            (("2024-01", "2024-02"), "dates"),
            (("images", "masks"), "what is in them"),
            (("images",), "its name is no class"),
        ],
    )
    def test_parts_of_the_data_are_refused(self, tmp_path: Path, names: tuple[str, ...], why: str) -> None:
        for number, name in enumerate(names):
            fill(tmp_path / name, first=10 * number)
        with pytest.raises(DataError, match=rf"(?s){names[0]}.*{why}.*data\.classes_from=folder"):
            read(tmp_path)
        assert len(read(tmp_path, classes_from="folder").class_names) == len(names)

    @pytest.mark.parametrize(
        "names",
        [
            ("00000", "00001"),
            ("c0", "c1"),
            ("n01440764", "n01443537"),
            ("class 1", "class 2"),
            ("001.Gull", "002.Wren"),
            ("cat",),
        ],
    )
    def test_codes_of_classes_are_not(self, names: tuple[str, ...]) -> None:
        assert why_no_classes(names) == ""

    def test_a_table_that_names_the_files(self, tmp_path: Path) -> None:
        fill(tmp_path / "left")
        fill(tmp_path / "right", first=4)
        rows = [f"p{number},{'ill' if number % 2 else 'well'}" for number in range(8)]
        (tmp_path / "labels.csv").write_text("\n".join(["id,diagnosis", *rows]))
        with pytest.raises(
            DataError,
            match=r"'labels\.csv' labels the images in them 'ill', 'well'.*data\.labels=labels\.csv.*data\.classes_from=folder",
        ):
            read(tmp_path)
        assert read(tmp_path, classes_from="folder").class_names == ["left", "right"]

    def test_a_table_that_agrees_is_mentioned(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for name in ("cats", "dogs"):
            fill(tmp_path / name)
        rows = [f"{name}/p{number}.jpg,{number % 2}" for name in ("cats", "dogs") for number in range(4)]
        (tmp_path / "facts.csv").write_text("\n".join(["path,day", *rows]))
        read(tmp_path)
        assert (
            "facts.csv names 8 images, and is not used. data.metadata=facts.csv adds its columns"
            in capsys.readouterr().err
        )
        read(tmp_path, metadata="facts.csv")
        assert "facts.csv" not in capsys.readouterr().err
        (tmp_path / "facts.csv").rename(tmp_path / "list.txt")
        read(tmp_path)
        assert "If it holds the labels, set data.labels=list.txt" in capsys.readouterr().err, "no metadata file"

    @pytest.mark.parametrize(
        "name", ["train.csv", "train/metadata.csv", "train/_classes.csv", "annotations/list.txt", "all.jsonl"]
    )
    def test_flat_folders_are_labelled_by_a_table(self, tmp_path: Path, name: str) -> None:
        for part in ("train", "test"):
            fill(tmp_path / part, first=4 * (part == "test"))
        table = tmp_path / name
        table.parent.mkdir(exist_ok=True)
        pairs = [(f"p{number}.jpg", "xy"[number % 2]) for number in range(8)]
        lines = {
            ".csv": ["file,label", *(f"{file},{label}" for file, label in pairs)],
            ".txt": [f"{file} {label}" for file, label in pairs],
            ".jsonl": [f'{{"file_name": "{file}", "label": "{label}"}}' for file, label in pairs],
        }[table.suffix]
        table.write_text("\n".join(lines))
        (tmp_path / "models").mkdir()
        data = read(tmp_path, val_fraction=0.0)
        assert data.class_names == ["x", "y"] and splits(data) == {"train": 4, "test": 4}

    def test_one_class_is_said(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        fill(tmp_path / "cup")
        read(tmp_path)
        assert "there is one class, 'cup', and a classifier needs at least 2" in capsys.readouterr().err


class TestAdvice:
    @pytest.mark.parametrize("wrapping", ["photos", "photos/photos", "a/b/c"])
    def test_the_folder_that_is_named_can_be_read(self, tmp_path: Path, wrapping: str) -> None:
        root = tmp_path / "root"
        for name in ("cup", "plate"):
            fill(root / wrapping / name)
        with pytest.raises(DataError, match=rf"use {root / wrapping} if these are the classes"):
            read(root)
        assert read(root / wrapping).class_names == ["cup", "plate"]

    def yolo(self, root: Path) -> None:
        for part in ("train", "val"):
            fill(root / "images" / part)
            (root / "labels" / part).mkdir(parents=True)
            for number in range(4):
                (root / "labels" / part / f"p{number}.txt").write_text("0 0.5 0.5 0.2 0.2\n")

    def test_boxes_of_objects(self, tmp_path: Path) -> None:
        self.yolo(tmp_path)
        with pytest.raises(DataError, match=r"labels holds a text file for each image, as YOLO's format does") as told:
            read(tmp_path)
        assert f"Use {tmp_path / 'images'}" not in str(told.value), "that would be refused"
        (tmp_path / "data.yaml").write_text("names: [a]")
        assert read(tmp_path, val_fraction=0.0).class_names == ["a"]

    def test_voc(self, tmp_path: Path) -> None:
        fill(tmp_path / "JPEGImages")
        (tmp_path / "Annotations").mkdir()
        (tmp_path / "Annotations" / "p0.xml").write_text("<annotation/>")
        with pytest.raises(DataError, match="Annotations holds an XML file for each image, as Pascal VOC does"):
            read(tmp_path)


class TestMasks:
    @pytest.mark.parametrize(("images", "masks"), [("images", "masks"), ("img", "ground_truth"), ("", "mask")])
    def test_folders_of_masks_are_left_out(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], images: str, masks: str
    ) -> None:
        for name in ("ill", "well"):
            fill(tmp_path / name / images)
            fill(tmp_path / name / masks, extension="png")
        assert len(read(tmp_path).samples) == 8
        assert f"left out as masks of the images beside them: ill/{masks}/ (4 images)" in capsys.readouterr().err

    def test_masks_by_the_ends_of_their_names(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for name in ("ill", "well"):
            fill(tmp_path / name)
            for number in range(4):
                shutil.copy(tmp_path / name / f"p{number}.jpg", tmp_path / name / f"p{number}_mask.jpg")
        assert len(read(tmp_path).samples) == 8
        assert "ill/*_mask.* (4 images)" in capsys.readouterr().err

    def test_sub_folders_are_listed(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        fill(tmp_path / "ill" / "day 1", 3)
        fill(tmp_path / "ill" / "day 2", 2)
        fill(tmp_path / "well")
        read(tmp_path)
        assert "which are the column domain: 'day 1' (3), 'day 2' (2)." in capsys.readouterr().err


def packed(root: Path) -> None:
    (root / "photos.7z").write_bytes(b"7z\xbc\xaf'\x1c")


def videos(root: Path) -> None:
    (root / "clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(50))


def tarred(root: Path) -> None:
    (root / "a").mkdir()
    (root / "a" / "shard").write_bytes(bytes(257) + b"ustar" + bytes(300))


def pages(root: Path) -> None:
    (root / "download.bin").write_text("<!DOCTYPE html><html></html>")


class TestSkipped:
    def test_a_majority_is_an_error(self, tmp_path: Path) -> None:
        fill(tmp_path / "a", 3)
        fill(tmp_path / "b", 3)
        for number in range(5):
            (tmp_path / "a" / f"scan{number}.dcm").write_bytes(bytes(128) + b"DICM")
            (tmp_path / "b" / f"scan{number}.xyz").write_bytes(b"something")
        with pytest.raises(
            DataError,
            match=r"6 images would be read and 10 files skipped \(10 of another kind \(5 \.dcm, 5 \.xyz\)\).*"
            r"'a/scan0\.dcm' is a DICOM file; convert it with 'dcm2img'.*on_bad_image=skip",
        ):
            read(tmp_path)
        assert len(read(tmp_path, on_bad_image="skip").samples) == 6

    def test_notes_to_each_image_are_no_majority(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            fill(tmp_path / name)
            for number in range(4):
                for extension in ("txt", "xml", "json"):
                    (tmp_path / name / f"p{number}.{extension}").write_text("x")
        assert len(read(tmp_path).samples) == 8

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (packed, ["contains the file 'photos.7z'", "'photos.7z' is a 7-Zip archive; unpack it with '7z x'"]),
            (videos, ["'clip.mp4' is a video; save its frames as images with 'ffmpeg"]),
            (tarred, ["'a/shard' is a tar archive; unpack it with 'tar xf'"]),
            (pages, ["'download.bin' is a web page, which a failed download leaves"]),
        ],
    )
    def test_what_is_there_instead(self, tmp_path: Path, make: Callable[[Path], None], words: list[str]) -> None:
        make(tmp_path)
        with pytest.raises(DataError, match="no image in") as told:
            read(tmp_path)
        assert "empty" not in str(told.value)
        for text in words:
            assert text in str(told.value)

    def test_a_root_that_is_an_archive_of_another_form(self, tmp_path: Path) -> None:
        packed(tmp_path)
        with pytest.raises(DataError, match=r"photos\.7z is a file, a 7-Zip archive; unpack it with '7z x'"):
            read(tmp_path / "photos.7z")

    def test_links_to_a_folder_above(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        fill(tmp_path / "cup", 3)
        fill(tmp_path / "plate", 3)
        (tmp_path / "cup" / "up").symlink_to("..")
        assert len(read(tmp_path).samples) == 6
        assert "1 links to a folder above" in capsys.readouterr().err


NFC, NFD = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")


class TestNames:
    def test_one_name_in_two_spellings_is_one_class(self, tmp_path: Path) -> None:
        for name, first in ((NFC, 0), (NFD, 4), ("tea", 8)):
            fill(tmp_path / name, first=first)
        data = read(tmp_path)
        assert data.class_names == [NFC, "tea"] and len(data.samples) == 12

    def test_splits_paths_increments_and_test_data(self, tmp_path: Path) -> None:
        for part, name, first in (("train", NFC, 0), ("test", NFD, 4)):
            fill(tmp_path / "split" / part / name, first=first)
            fill(tmp_path / "split" / part / "tea", first=first + 20)
        assert read(tmp_path / "split").class_names == [NFC, "tea"]
        for name in (NFD, "tea"):
            fill(tmp_path / "mac" / name)
            fill(tmp_path / "pc" / unicodedata.normalize("NFC", name))
        rows = [f"{name}/p{number}.jpg,{number % 2}" for name in (NFC, "tea") for number in range(4)]
        (tmp_path / "facts.csv").write_text("\n".join(["path,day", *rows]), encoding="utf-8")
        assert read(tmp_path / "mac", metadata=tmp_path / "facts.csv").samples["day"].notna().all()
        mac = read(tmp_path / "mac")
        mac.use_class_names(["milk", NFD, "tea"])
        assert set(mac.samples["label"]) == {1, 2}
        both = read(tmp_path / "pc", test_data=read(tmp_path / "mac"))
        assert both.class_names == [NFC, "tea"] and splits(both)["test"] > 0


class TestPathsInTables:
    @pytest.mark.parametrize("start", ["{root}/", "{name}/", "/kaggle/input/{name}/", "C:\\data\\{name}\\", "./"])
    def test_what_lies_before_the_root(self, tmp_path: Path, start: str) -> None:
        root = tmp_path / "photos"
        for name in ("cup", "plate"):
            fill(root / name)
        before = start.format(root=root, name="photos")
        rows = [f"{before}{name}/p{number}.jpg,{number % 2}" for name in ("cup", "plate") for number in range(4)]
        (root / "facts.csv").write_text("\n".join(["path,day", *rows]))
        assert read(root, metadata="facts.csv").samples["day"].notna().all()

    def test_versions_and_months_stay_texts(self, tmp_path: Path) -> None:
        for name in ("cup", "plate"):
            fill(tmp_path / name)
        values = ["1.9", "1.10", "1.2", "1.10"]
        rows = [
            f"{name}/p{number}.jpg,{value},{number / 2}"
            for name in ("cup", "plate")
            for number, value in enumerate(values)
        ]
        (tmp_path / "facts.csv").write_text("\n".join(["path,firmware,width", *rows]))
        data = read(tmp_path, metadata="facts.csv", stream=FromColumn("firmware"), test_fraction=0.0, val_fraction=0.0)
        assert [item.name for item in data.stream] == ["1.2", "1.9", "1.10"]
        assert data.samples["width"].dtype == np.float64
