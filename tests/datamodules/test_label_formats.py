"""Annotation files as tools write them, and as they must not be: each reader alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import label_maker as maker
import pandas as pd
import pytest

from datamodules.class_name_table import read_class_names
from datamodules.documents import read_xml
from datamodules.folder_names import split_in_path
from datamodules.label_formats.coco import read_coco
from datamodules.label_formats.cvat import read_cvat
from datamodules.label_formats.label_studio import file_name_of, read_label_studio
from datamodules.label_formats.official_splits import find_dataset
from datamodules.label_formats.table_file import read_table_file
from datamodules.label_formats.voc import read_voc
from datamodules.label_formats.yolo import label_file_of, read_yolo
from datamodules.label_formats.yolo import read_class_names as read_yolo_names
from datamodules.label_rows import CORNERS
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError


def corners(rows: pd.DataFrame, row: int = 0) -> tuple[float, ...]:
    return tuple(float(value) for value in rows.iloc[row][list(CORNERS)])


def said(problems: DataProblems) -> str:
    unusable = [f"{path}: {reason}" for path, reason in problems.unusable]
    return "\n".join([*problems.problems, *unusable])


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("instances_train2017.json", "train"),
        ("Validation", "val"),
        ("valid/_annotations.coco.json", "val"),
        ("seg_test", "test"),
        ("test_images", "test"),
        ("trains", None),
        ("contest", None),
        ("train_test_split.txt", None),
    ],
)
def test_splits_in_names(name: str, split: str | None) -> None:
    assert split_in_path(name) == split


class TestCoco:
    def read(self, folder: Path, document: Any) -> tuple[pd.DataFrame, DataProblems]:
        problems = DataProblems()
        (folder / "a.json").write_text(json.dumps(document), encoding="utf-8")
        return read_coco(folder / "a.json", "", problems).rows, problems

    def test_boxes_are_x_y_width_and_height(self, tmp_path: Path) -> None:
        rows, problems = self.read(tmp_path, maker.coco_document(["000.jpg", "001.jpg"]))
        assert rows["label"].tolist() == ["cup", "plate"] and corners(rows) == maker.BOX
        assert problems.remarks == ["a.json: no image has an annotation of 'things'."]

    def test_annotations_without_a_box_label_whole_images(self, tmp_path: Path) -> None:
        document = maker.coco_document(["000.jpg", "001.jpg", "002.jpg"])
        for annotation in document["annotations"]:
            del annotation["bbox"]
        document["annotations"].pop()
        rows, _ = self.read(tmp_path, document)
        assert "x1" not in rows
        assert rows["label"].tolist()[:2] == ["cup", "plate"] and rows["label"].isna().tolist() == [False, False, True]

    def test_crowds_are_left_out(self, tmp_path: Path) -> None:
        document = maker.coco_document(["000.jpg", "001.jpg"])
        document["annotations"][0]["iscrowd"] = 1
        rows, problems = self.read(tmp_path, document)
        assert len(rows) == 1 and problems.left_out == {"crowds (iscrowd) in a.json": 1}

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"image_id": 9}, "annotation 1: image_id 9 is not in the list images"),
            ({"category_id": [1]}, r"annotation 1: category_id [1] is not in the list categories"),
            ({"bbox": [1, 2, 3]}, "annotation 1: expected a box of four numbers, found []"),
            ({"bbox": [1, 2, -3, 4]}, "annotation 1: the box has no pixels (-3 wide and 4 high)"),
            ({"bbox": [1, 2, "3", 4]}, "annotation 1: expected a box of four numbers"),
        ],
    )
    def test_annotations_that_cannot_be(self, change: dict[str, Any], words: str, tmp_path: Path) -> None:
        document = maker.coco_document(["000.jpg", "001.jpg"])
        document["annotations"][0] |= change
        rows, problems = self.read(tmp_path, document)
        assert words in said(problems) and rows["label"].notna().sum() == 1

    @pytest.mark.parametrize(
        ("name", "items", "words"),
        [
            ("images", [{"id": 0}], "number 1 of images: expected an object with 'id' and the text 'file_name'"),
            ("images", [{"id": 0, "file_name": "a"}] * 2, "number 2 of images: the id 0 is already taken"),
            ("categories", [{"id": 1, "name": " "}], "number 1 of categories: expected an object with 'id' and the text"),
            ("categories", [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}], "2 categories are called 'a'; they must differ"),
            ("annotations", ["x"], "annotation 1: expected an object, found 'x'"),
        ],
    )  # fmt: skip
    def test_lists_that_cannot_be(self, name: str, items: list[Any], words: str, tmp_path: Path) -> None:
        _, problems = self.read(tmp_path, {**maker.coco_document(["000.jpg"]), name: items})
        assert words in said(problems)

    def test_no_coco_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"not a COCO file: expected the lists .* found 'images', 'categories'"):
            self.read(tmp_path, {"images": [], "categories": []})


class TestVoc:
    def read(self, folder: Path, *texts: str) -> tuple[pd.DataFrame, DataProblems]:
        problems = DataProblems()
        files = [folder / f"{number:03d}.xml" for number in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text, encoding="utf-8")
        return read_voc(files, folder, problems).rows, problems

    def test_pixels_count_from_1(self, tmp_path: Path) -> None:
        rows, _ = self.read(tmp_path, maker.voc_annotation("a.jpg", [("cup", (5, 7, 24, 26))]))
        assert corners(rows) == maker.BOX

    def test_pixels_that_count_from_0(self, tmp_path: Path) -> None:
        rows, problems = self.read(
            tmp_path, maker.voc_annotation("a.jpg", [("cup", (0, 7, 24, 26)), ("cup", (1, 1, 9, 9))])
        )
        assert corners(rows, 1) == (1.0, 1.0, 9.0, 9.0)
        assert "they are read as counted from 0" in problems.remarks[0]

    def test_an_image_without_objects(self, tmp_path: Path) -> None:
        rows, _ = self.read(
            tmp_path, maker.voc_annotation("a.jpg", []), maker.voc_annotation("b.jpg", [("cup", (5, 5, 9, 9))])
        )
        assert rows["label"].isna().tolist() == [True, False]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("<object><bndbox/></object>", "000.xml object 1: it has no <name>"),
            ("<object><name>cup</name></object>", "000.xml object 1: it has no <bndbox>"),
            (
                "<object><name>cup</name><bndbox><xmin>a</xmin></bndbox></object>",
                "000.xml object 1: expected four numbers, found xmin 'a', ymin None",
            ),
        ],
    )
    def test_objects_that_cannot_be(self, text: str, words: str, tmp_path: Path) -> None:
        _, problems = self.read(tmp_path, f"<annotation><filename>a.jpg</filename>{text}</annotation>")
        assert words in said(problems)

    def test_a_box_without_pixels(self, tmp_path: Path) -> None:
        _, problems = self.read(tmp_path, maker.voc_annotation("a.jpg", [("cup", (9, 9, 3, 9))]))
        assert "000.xml object 1: the box has no pixels" in said(problems)

    def test_another_root(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"its root is <html>, expected <annotation>"):
            self.read(tmp_path, "<html/>")

    def test_entities_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.xml").write_text(
            '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>'
        )
        with pytest.raises(DataError, match="declares XML entities"):
            read_xml(tmp_path / "a.xml")


class TestYolo:
    def read(self, root: Path) -> tuple[pd.DataFrame, DataProblems]:
        problems = DataProblems()
        images = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))
        return read_yolo(root, images, root / "data.yaml", problems).rows, problems

    def test_shares_become_pixels(self, tmp_path: Path) -> None:
        rows, _ = self.read(maker.write_yolo(tmp_path))
        assert corners(rows) == pytest.approx(maker.BOX)

    def test_outlines_and_images_without_a_file(self, tmp_path: Path) -> None:
        root = maker.write_yolo(tmp_path)
        (root / "labels/train/000.txt").write_text("0 0.1 0.2 0.6 0.2 0.6 0.8\n")
        (root / "labels/train/001.txt").unlink()
        (root / "labels/train/002.txt").write_text("\n")
        rows, _ = self.read(root)
        assert corners(rows) == pytest.approx((4, 6, 24, 24))
        assert rows["label"].isna().tolist()[:4] == [False, True, True, False]

    @pytest.mark.parametrize(("shape", "points"), [([2, 2], "0.1 0.1 0.9 0.9"), ([2, 3], "0.1 0.1 2 0.9 0.9 1")])
    def test_key_points_are_no_outline(self, shape: list[int], points: str, tmp_path: Path) -> None:
        root = maker.write_yolo(tmp_path)
        file = root / "labels/train/000.txt"
        file.write_text(f"{file.read_text().strip()} {points}\n")
        (root / "data.yaml").write_text(f"{(root / 'data.yaml').read_text()}kpt_shape: {shape}\n")
        rows, problems = self.read(root)
        assert corners(rows) == pytest.approx(maker.BOX) and not problems.problems
        (root / "data.yaml").write_text("names: [cup, plate]\nkpt_shape: 17\n")
        with pytest.raises(DataError, match=r"expected 'kpt_shape' as \[key points, values of each\], found 17"):
            self.read(root)

    def test_lists_name_images_with_their_folders(self, tmp_path: Path) -> None:
        """As those of several cameras, which all have an image 000.jpg."""
        for camera in "abc":
            maker.draw_all(tmp_path / "images" / camera, 4)
        for split, camera in (("train", "a"), ("val", "b")):
            lines = [f"/data/set/images/{camera}/{number:03d}.jpg\n" for number in range(4)]
            (tmp_path / f"{split}.txt").write_text("".join(lines))
        (tmp_path / "data.yaml").write_text("train: train.txt\nval: val.txt\nnames: [cup, plate]\n")
        rows, problems = self.read(tmp_path)
        cameras = [name.split("/")[1] for name in rows["name"]]
        assert set(zip(rows["split"], cameras, strict=True)) == {("train", "a"), ("val", "b")}
        assert not problems.problems and not problems.remarks
        (tmp_path / "val.txt").write_text("000.jpg\n")
        assert "val.txt: several images are called '000.jpg'; write their folder too" in said(self.read(tmp_path)[1])

    def test_folders_that_are_no_part_of_the_data_are_not_trained_on(self, tmp_path: Path) -> None:
        root = maker.write_yolo(tmp_path)
        (root / "images/val").rename(root / "images/held_out")
        (root / "labels/val").rename(root / "labels/held_out")
        maker.draw_all(root / "images/val", 4, first=100)
        rows, _ = self.read(root)
        assert sorted(rows["name"].str.split("/").str[1].unique()) == ["train", "val"]

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("0 0.5 0.5 0.4", "labels/train/000.txt line 1: expected <class> <x> <y> <w> <h>, found '0 0.5 0.5 0.4'"),
            ("cup 0.5 0.5 0.4 0.4", "line 1: expected <class> <x> <y> <w> <h>"),
            ("0 0.5 0.5 a 0.4", "line 1: expected <class> <x> <y> <w> <h>"),
            ("2 0.5 0.5 0.4 0.4", "line 1: class 2 is not among the 2 names, which count from 0"),
            ("0 20 15 8 6", "line 1: expected shares of the image, from 0 to 1, found '20 15 8 6'"),
            ("0 0.5 0.5 0 0.4", "line 1: the box has no pixels"),
        ],
    )
    def test_lines_that_cannot_be(self, line: str, words: str, tmp_path: Path) -> None:
        root = maker.write_yolo(tmp_path)
        (root / "labels/train/000.txt").write_text(line)
        _, problems = self.read(root)
        assert words in said(problems)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("train: a\nnames: []\n", r"expected 'names', a list of class names or a mapping from numbers, found \[\]"),
            ("train: a\nnames: {a: 0}\n", r"'names' has 'a': 0; expected a number from 0 and a name"),
            ("train: a\nnc: 3\nnames: [a, b]\n", r"nc is 3, and there are 2 names"),
            ("train: a\nnames: [a, a]\n", r"'names' has 'a' twice"),
        ],
    )
    def test_names_that_cannot_be(self, text: str, words: str, tmp_path: Path) -> None:
        (tmp_path / "data.yaml").write_text(text)
        with pytest.raises(DataError, match=words):
            read_yolo_names(tmp_path / "data.yaml")

    def test_names_by_number(self, tmp_path: Path) -> None:
        (tmp_path / "data.yaml").write_text("train: a\nnames:\n  0: cup\n  1: plate\n")
        assert read_yolo_names(tmp_path / "data.yaml") == {0: "cup", 1: "plate"}

    def test_where_the_text_file_of_an_image_is(self) -> None:
        assert label_file_of("images/train/a.jpg")[0] == "labels/train/a.txt"
        assert label_file_of("train/images/a.b.jpg")[0] == "train/labels/a.b.txt"
        assert {"a/b.txt", "labels/a/b.txt", "a/labels/b.txt"} == set(label_file_of("a/b.jpg"))


class TestCvat:
    def read(self, folder: Path, images: str) -> tuple[pd.DataFrame, DataProblems]:
        problems = DataProblems()
        (folder / "a.xml").write_text(f"<annotations>{images}</annotations>", encoding="utf-8")
        return read_cvat(folder / "a.xml", "", [], problems).rows, problems

    def test_outlines_ellipses_and_points(self, tmp_path: Path) -> None:
        rows, problems = self.read(
            tmp_path,
            '<image name="a.jpg"><polygon label="cup" points="4,6;24,6;10,26"/><ellipse label="cup" cx="10" cy="10" rx="2" ry="3"/>'
            '<points label="cup" points="1,1"/></image>',
        )
        assert corners(rows) == maker.BOX and corners(rows, 1) == (8, 7, 12, 13)
        assert problems.left_out == {"shapes of kind points, which have no box, in a.xml": 1}

    def test_shapes_that_are_turned(self, tmp_path: Path) -> None:
        """About their centres, clockwise, as CVAT shows them."""
        rows, _ = self.read(
            tmp_path,
            '<image name="a.jpg"><box label="cup" xtl="10" ytl="0" xbr="20" ybr="30" rotation="90"/>'
            '<box label="cup" xtl="5" ytl="5" xbr="15" ybr="15" rotation="45.0"/>'
            '<ellipse label="cup" cx="10" cy="10" rx="2" ry="4" rotation="270"/></image>',
        )
        assert corners(rows) == (0, 10, 30, 20) and corners(rows, 2) == (6, 8, 14, 12)
        assert corners(rows, 1) == pytest.approx((10 - 50**0.5, 10 - 50**0.5, 10 + 50**0.5, 10 + 50**0.5))

    def test_subsets_are_the_split(self, tmp_path: Path) -> None:
        rows, _ = self.read(
            tmp_path,
            '<image name="a.jpg" subset="Train"><tag label="cup"/></image><image name="b.jpg" subset="Test"><tag label="cup"/></image>',
        )
        assert rows["split"].tolist() == ["train", "test"]

    @pytest.mark.parametrize(
        ("images", "words"),
        [
            ('<image id="3"/>', "the image with id '3' has no name"),
            ('<image name="a.jpg"><box xtl="1" ytl="1" xbr="4" ybr="4"/></image>', "a.jpg shape 1: it has no label"),
            ('<image name="a.jpg"><box label="c" xtl="1"/></image>', "a.jpg shape 1: expected a box of four numbers"),
            (
                '<image name="a.jpg"><polygon label="c" points="1"/></image>',
                "a.jpg shape 1: expected a box of four numbers",
            ),
            ('<image name="a.jpg"><tag/></image>', "a.jpg tag 1: it has no label"),
        ],
    )
    def test_images_that_cannot_be(self, images: str, words: str, tmp_path: Path) -> None:
        assert words in said(self.read(tmp_path, images)[1])


class TestLabelStudio:
    def read(self, folder: Path, *tasks: Any) -> tuple[pd.DataFrame, DataProblems]:
        problems = DataProblems()
        (folder / "a.json").write_text(json.dumps(tasks), encoding="utf-8")
        return read_label_studio(folder / "a.json", "", problems).rows, problems

    def test_choices_and_rectangles(self, tmp_path: Path) -> None:
        rows, _ = self.read(
            tmp_path,
            maker.label_studio_task("a.jpg", [maker.choice("cup")]),
            maker.label_studio_task("b.jpg", [maker.rectangle("plate")]),
            maker.label_studio_task("c.jpg", []),
        )
        assert rows["name"].tolist() == ["0a1b2c3d-a.jpg", "0a1b2c3d-b.jpg", "0a1b2c3d-c.jpg"]
        assert rows["label"].tolist()[:2] == ["cup", "plate"] and corners(rows, 1) == pytest.approx(maker.BOX)
        assert rows["label"].isna().tolist() == [False, False, True]

    def test_regions_that_are_turned(self, tmp_path: Path) -> None:
        """Rectangles about their upper left corner, ellipses about their centre."""
        turned: dict[str, Any] = {"x": 50, "y": 50, "rotation": 90}
        values = [
            {**turned, "width": 25, "height": 10, "rectanglelabels": ["cup"]},
            {**turned, "radiusX": 25, "radiusY": 10, "ellipselabels": ["cup"]},
        ]
        results = [{"value": value, "original_width": 40, "original_height": 30} for value in values]
        rows, _ = self.read(tmp_path, maker.label_studio_task("a.jpg", results))
        assert corners(rows) == pytest.approx((17, 15, 20, 25)) and corners(rows, 1) == pytest.approx((17, 5, 23, 25))

    def test_the_short_form(self, tmp_path: Path) -> None:
        facts = {"id": 1, "annotation_id": 2, "lead_time": 1.5, "image": "/data/local-files/?d=photos/a%20b.jpg"}
        rows, _ = self.read(tmp_path, {**facts, "choice": "cup"}, {**facts, "choice": {"choices": ["plate"]}})
        assert rows["name"].tolist() == ["photos/a b.jpg"] * 2 and rows["label"].tolist() == ["cup", "plate"]
        value = maker.rectangle("cup")
        rows, _ = self.read(
            tmp_path, {**facts, "label": [{**value["value"], "original_width": 40, "original_height": 30}]}
        )
        assert corners(rows) == pytest.approx(maker.BOX)

    def test_annotators_who_differ(self, tmp_path: Path) -> None:
        def task(*labels: str, truth: int = -1) -> dict[str, Any]:
            annotations = [
                {"result": [maker.choice(label)], "ground_truth": number == truth}
                for number, label in enumerate(labels)
            ]
            return maker.label_studio_task("a.jpg", [], annotations=annotations)

        assert "task 1: its 2 annotations differ. Mark one as ground truth" in said(
            self.read(tmp_path, task("a", "b"))[1]
        )
        assert self.read(tmp_path, task("a", "b", truth=1))[0]["label"].tolist() == ["b"]
        assert self.read(tmp_path, task("a", "a"))[0]["label"].tolist() == ["a"]
        cancelled = maker.label_studio_task("a.jpg", [])
        cancelled["annotations"] = [{"was_cancelled": True, "result": [maker.choice("b")]}]
        assert self.read(tmp_path, cancelled)[0]["label"].isna().all()

    @pytest.mark.parametrize(
        ("task", "words"),
        [
            ({"data": {"text": "hello"}, "annotations": []}, "task 1: it names no image (expected one of image"),
            (
                maker.label_studio_task("a.jpg", [{**maker.rectangle("cup"), "original_width": None}]),
                "task 1: a region without original_width and original_height",
            ),
            (
                maker.label_studio_task(
                    "a.jpg", [{**maker.rectangle("c"), "value": {"x": 1, "rectanglelabels": ["c"]}}]
                ),
                "task 1: expected a box of four numbers",
            ),
        ],
    )
    def test_tasks_that_cannot_be(self, task: dict[str, Any], words: str, tmp_path: Path) -> None:
        assert words in said(self.read(tmp_path, task)[1])

    @pytest.mark.parametrize(
        ("url", "name"),
        [
            ("/data/upload/1/0a1b2c3d-cat%201.jpg", "0a1b2c3d-cat 1.jpg"),
            ("/data/local-files/?d=a/b.jpg", "a/b.jpg"),
            ("s3://bucket/folder/a.jpg", "a.jpg"),
            ("https://example.org/x/a.jpg?sign=1", "a.jpg"),
            ("photos/a.jpg", "photos/a.jpg"),
        ],
    )
    def test_addresses(self, url: str, name: str) -> None:
        assert file_name_of(url) == name


class TestOfficialSplits:
    @pytest.mark.parametrize(
        ("write", "spoil", "words"),
        [
            (maker.write_cub, ("train_test_split.txt", "1 2"), "expected 0 or 1 for image 1"),
            (
                maker.write_cub,
                ("bounding_boxes.txt", "1 4.0"),
                "bounding_boxes.txt: expected x, y, width and height of image 1",
            ),
            (maker.write_pets, ("annotations/test.txt", "Abyssinian_5 1"), "test.txt line 1: expected 4 fields, found"),
            (maker.write_tiny_imagenet, ("val/val_annotations.txt", "x.JPEG n01443537"), "line 1: expected 6 fields"),
            (
                maker.write_aircraft,
                ("images_variant_val.txt", "0001"),
                "images_variant_val.txt line 1: expected 2 fields",
            ),
        ],
    )
    def test_lines_that_cannot_be(
        self, write: Callable[[Path], Path], spoil: tuple[str, str], words: str, tmp_path: Path
    ) -> None:
        file = write(tmp_path) / spoil[0]
        lines = file.read_text(encoding="utf-8").split("\n")
        file.write_text("\n".join([spoil[1], *lines[1:]]), encoding="utf-8")
        dataset, problems = find_dataset(tmp_path), DataProblems()
        assert dataset is not None
        dataset.read(tmp_path, problems)
        assert words in said(problems)

    def test_an_empty_list(self, tmp_path: Path) -> None:
        (maker.write_food(tmp_path) / "meta" / "train.txt").write_text("")
        dataset = find_dataset(tmp_path)
        assert dataset is not None
        with pytest.raises(DataError, match=r"train\.txt has no lines that can be used"):
            dataset.read(tmp_path, DataProblems())

    def test_other_folders(self, tmp_path: Path) -> None:
        assert find_dataset(tmp_path) is None


class TestTableFiles:
    def read(self, folder: Path, name: str, text: str) -> tuple[pd.DataFrame, DataProblems]:
        problems = DataProblems()
        (folder / name).write_text(text, encoding="utf-8")
        return read_table_file(folder / name, problems).rows, problems

    @pytest.mark.parametrize(
        ("name", "text", "columns"),
        [
            ("a.csv", "path,label\na.jpg,cup\n", ["path", "label"]),
            ("a.csv", "path;label\na.jpg;1,5\n", ["path", "label"]),
            ("a.tsv", "path\tlabel\na b.jpg\tred, blue\n", ["path", "label"]),
            ("a.csv", ",path,label\n0,a.jpg,cup\n", ["path", "label"]),
            ("a.csv", "a.jpg,cup\nb.jpg,cup\n", ["column 1", "column 2"]),
            ("a.txt", "a.jpg  3\nb.jpg 12\n", ["column 1", "column 2"]),
            ("a.txt", "Abyssinian_1 1 1 1\n", ["column 1", "column 2", "column 3", "column 4"]),
            ("a.csv", '"path","label"\n"a,b.jpg","x"\n', ["path", "label"]),
            ("a.jsonl", '{"file_name": "a.jpg", "label": 1}\n\n{"file_name": "b.jpg", "label": 2}\n', ["file_name", "label"]),
            ("a.json", '{"a.jpg": "cup", "b.jpg": "plate"}', ["path", "label"]),
        ],
    )  # fmt: skip
    def test_forms(self, name: str, text: str, columns: list[str], tmp_path: Path) -> None:
        rows, problems = self.read(tmp_path, name, text)
        assert list(rows.columns) == columns and said(problems) == ""

    def test_the_beginning_ends_with_a_line(self, tmp_path: Path) -> None:
        text = "path,label\n" + "".join(f"{number:03d}.jpg,caf\u00e9\n" for number in range(100))
        (tmp_path / "a.csv").write_text(text, encoding="utf-8")
        problems = DataProblems()
        rows = read_table_file(tmp_path / "a.csv", problems, 100).rows
        assert rows["path"].tolist() == [f"{number:03d}.jpg" for number in range(6)] and said(problems) == ""
        assert len(read_table_file(tmp_path / "a.csv", problems, 100_000).rows) == 100

    def test_lines_are_named(self, tmp_path: Path) -> None:
        rows, problems = self.read(tmp_path, "a.csv", 'path,label\na.jpg,cup\nb.jpg\n"c\n.jpg",cup\nd.jpg,cup\n')
        assert rows.index.tolist() == [2, 4, 6] and said(problems) == "a.csv line 3: 1 field, expected 2"


class TestClassNames:
    @pytest.mark.parametrize(
        ("name", "text", "labels"),
        [
            ("a.json", '{"0": "cup", "1": "plate"}', ["0", "1"]),
            ("a.json", '{"cup": 0, "plate": 1}', ["0", "1"]),
            ("a.json", '["cup", "plate"]', ["0", "1"]),
            ("a.json", '["cup", "plate"]', ["1", "2"]),
            ("a.yaml", "names: {0: cup, 1: plate}\n", ["0", "1"]),
            ("a.csv", "id,name,size\n0,cup,3\n1,plate,4\n", ["0", "1"]),
            ("a.txt", "0 cup\n1 plate\n", ["0", "1"]),
            ("a.txt", "cup\nplate\n", ["0", "1"]),
        ],
    )
    def test_forms(self, name: str, text: str, labels: list[str], tmp_path: Path) -> None:
        (tmp_path / name).write_text(text, encoding="utf-8")
        names = read_class_names(tmp_path / name, labels, DataProblems())
        assert [names[label] for label in labels] == ["cup", "plate"]

    @pytest.mark.parametrize(
        ("name", "text", "labels", "words"),
        [
            ("a.txt", "", ["0"], r"is empty\. Expected a line for each class"),
            ("a.txt", "cup\nplate\n", ["a"], r"has 2 names and no labels, so labels must be numbers of them; found 'a'"),
            ("a.txt", "cup\nplate\n", ["0", "2"], r"has 2 names; labels are numbers from 0 to 2"),
            ("a.txt", "cup\nplate\njug\n", ["1", "2"], r"neither 0 nor 3 is a label, so it is not clear"),
            ("a.json", '{"a": {"b": 1}}', ["0"], r"must hold a mapping of labels to names, or a list of names"),
            ("a.csv", "id,name\n5,cup\n6,plate\n", ["0"], r"no column of .* has the labels '0'\. It has the columns 'id', 'name'"),
            ("a.csv", "id,a,b\n0,cup,x\n1,plate,y\n", ["0"], r"needs a column with the labels \('id'\) and one with their names"),
        ],
    )  # fmt: skip
    def test_refused(self, name: str, text: str, labels: list[str], words: str, tmp_path: Path) -> None:
        (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=words):
            read_class_names(tmp_path / name, labels, DataProblems())
