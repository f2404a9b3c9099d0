"""Images that files or names label, in the layouts in which people have them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import label_maker as maker
import pytest
from label_maker import QUICK

from datamodules import BoundingBoxes, ImageFolder
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.scenarios import FromColumn
from lightning_vision.errors import ConfigError, DataError


def read(root: Path, **options: Any) -> ImageFolder:
    return ImageFolder(root, **{**QUICK, **options})


def read_boxes(root: Path, **options: Any) -> BoundingBoxes:
    return BoundingBoxes(root, **{**QUICK, **options})


def counts(data: StreamDataModule) -> dict[str, int]:
    return {str(part): int(count) for part, count in data.samples["split"].value_counts().items()}


def labels_by_number(data: StreamDataModule) -> bool:
    """Whether each image has the class of its number."""
    names = [path.rpartition("/")[2] for path in data.samples["path"]]
    return [data.class_names[label] for label in data.samples["label"]] == [maker.class_of(name) for name in names]


Layout = tuple[Callable[[Path], Path], dict[str, int]]
LAYOUTS: dict[str, Layout] = {
    "kaggle": (maker.write_kaggle, {"train": 10, "test": 2}),
    "hugging_face": (maker.write_hugging_face, {"train": 12, "test": 4}),
    "hugging_face_lines": (lambda root: maker.write_hugging_face(root, lines=True), {"train": 12, "test": 4}),
    "roboflow": (maker.write_roboflow, {"train": 12, "val": 4, "test": 4}),
    "coco": (maker.write_coco, {"train": 12, "test": 4}),
    "yolo": (maker.write_yolo, {"train": 10, "val": 4, "test": 2}),
    "voc": (maker.write_voc, {"train": 12, "test": 4}),
    "cvat": (maker.write_cvat, {"train": 10, "test": 2}),
    "cvat_tags": (lambda root: maker.write_cvat(root, tags=True), {"train": 10, "test": 2}),
    "labelme": (maker.write_labelme, {"train": 10, "test": 2}),
    "labelme_flags": (lambda root: maker.write_labelme(root, flags=True), {"train": 10, "test": 2}),
    "label_studio": (maker.write_label_studio, {"train": 10, "test": 2}),
}


class TestLayouts:
    @pytest.mark.parametrize("name", LAYOUTS)
    def test_recognised_and_asked_for(self, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write, expected = LAYOUTS[name]
        write(tmp_path)
        data = read(tmp_path)
        assert data.class_names == ["cup", "plate"] and labels_by_number(data)
        assert counts(data) == expected
        assert "labels are read from" in capsys.readouterr().err
        asked = read(tmp_path, labels=tmp_path)
        assert asked.split_hash == data.split_hash

    def test_unlabelled_images_are_counted(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        read(maker.write_kaggle(tmp_path))
        said = capsys.readouterr().err
        assert "image from 'id_code', label from 'diagnosis'" in said
        assert "4 images not named in train.csv: unlabelled, not used (4 in test_images/)" in said

    @pytest.mark.parametrize(
        ("write", "classes", "expected"),
        [
            (maker.write_cub, ["001.Gull", "002.Wren"], {"train": 8, "test": 4}),
            (lambda root: maker.write_cub(root, whole=False), ["001.Gull", "002.Wren"], {"train": 8, "test": 4}),
            (maker.write_food, ["apple_pie", "waffles"], {"train": 8, "test": 4}),
            (maker.write_pets, ["Abyssinian", "american_bulldog"], {"train": 8, "test": 4}),
            (maker.write_flowers, ["1", "2"], {"train": 6, "val": 2, "test": 4}),
            (maker.write_tiny_imagenet, ["n01443537", "n01629819"], {"train": 8, "test": 4}),
            (maker.write_aircraft, ["707-320", "Gulfstream IV"], {"train": 4, "val": 4, "test": 4}),
        ],
    )
    def test_official_splits(
        self,
        write: Callable[[Path], Path],
        classes: list[str],
        expected: dict[str, int],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        data = read(write(tmp_path))
        assert data.class_names == classes
        assert counts(data) == expected
        assert "its labels and official split are used" in capsys.readouterr().err

    def test_words_for_synsets(self, tmp_path: Path) -> None:
        data = read(maker.write_tiny_imagenet(tmp_path), label_names="words.txt")
        assert data.class_names == ["goldfish, Carassius auratus", "salamander"]

    def test_the_folder_of_images(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for name, write in (("cub", maker.write_cub), ("food", maker.write_food)):
            assert len(read(write(tmp_path / name) / "images").samples) == 12
            assert f"To use its official split, set data.root to {tmp_path / name}" in capsys.readouterr().err

    def test_the_folder_above_a_dataset(self, tmp_path: Path) -> None:
        maker.write_food(tmp_path / "food-101")
        with pytest.raises(DataError, match=r"one level too high for Food-101: use .*food-101"):
            read(tmp_path)

    def test_datasets_of_other_datamodules(self, tmp_path: Path) -> None:
        maker.draw_all(tmp_path / "car_ims")
        (tmp_path / "cars_annos.mat").touch()
        with pytest.raises(DataError, match=r"is Stanford Cars .*Read it with the datamodule StanfordCars"):
            read(tmp_path)

    def test_a_table_beside_the_folder_of_images(self, tmp_path: Path) -> None:
        root = maker.write_kaggle(tmp_path) / "train_images"
        with pytest.raises(
            DataError, match=r"in no class folders, and '.*train\.csv' beside it labels them. Set data\.labels"
        ):
            read(root)
        assert labels_by_number(read(root, labels="../train.csv"))

    def test_voc_beside_images_of_the_same_names(self, tmp_path: Path) -> None:
        for split in ("train", "test"):
            for name in maker.draw_all(tmp_path / split, 6):
                label = maker.CLASSES[(int(name) + (split == "test")) % 2]
                text = maker.voc_annotation(f"{name}.jpg", [(label, (5, 7, 24, 26))])
                (tmp_path / split / f"{name}.xml").write_text(text, encoding="utf-8")
        data = read_boxes(tmp_path, labels=tmp_path)
        for path, label, split in zip(data.samples["path"], data.samples["label"], data.samples["split"], strict=True):
            assert path.split("/")[0] == split and label == (int(path[-7:-4]) + (split == "test")) % 2

    def test_yolo_states_its_split(self, tmp_path: Path) -> None:
        for folder, count, first in (("images/a", 12, 0), ("images/b", 4, 50)):
            for name in maker.draw_all(tmp_path / folder, count, first=first):
                label = tmp_path / folder.replace("images", "labels") / f"{name}.txt"
                label.parent.mkdir(parents=True, exist_ok=True)
                label.write_text(f"{int(name) % 2} 0.5 0.5 0.4 0.4\n")
        text = "path: /data/x\ntrain: ../x/images/a\n{}names: [cup, plate]\n"
        (tmp_path / "data.yaml").write_text(text.format("test: images/b\n"))
        assert counts(read(tmp_path)) == {"train": 12, "test": 4}
        (tmp_path / "data.yaml").write_text(text.format("val: images/a\n"))
        assert len(read(tmp_path).samples) == 16

    def test_the_folder_of_yolos_text_files(self, tmp_path: Path) -> None:
        root = maker.write_yolo(tmp_path)
        assert labels_by_number(read(root, labels="labels"))
        (root / "data.yaml").unlink()
        with pytest.raises(DataError, match=r"the class names are missing: expected data\.yaml or classes\.txt in"):
            read(root, labels="labels")
        (root / "labels" / "classes.txt").write_text("cup\nplate\n")
        assert labels_by_number(read(root, labels="labels"))

    def test_the_folder_of_vocs_files(self, tmp_path: Path) -> None:
        data = read(maker.write_voc(tmp_path), labels="Annotations")
        assert counts(data) == {"train": 12, "test": 4}

    def test_no_known_dataset(self, tmp_path: Path) -> None:
        maker.draw_all(tmp_path)
        with pytest.raises(
            DataError, match=r"labels_format=dataset: .* has the files of none of 'CUB-200', 'Food-101'"
        ):
            read(tmp_path, labels_format="dataset")

    def test_coco_with_captions_beside_it(self, tmp_path: Path) -> None:
        for split, count, first in (("train", 12, 0), ("val", 4, 50)):
            names = maker.draw_all(tmp_path / f"{split}2017", count, first=first)
            document = maker.coco_document([f"{name}.jpg" for name in names])
            (tmp_path / "annotations").mkdir(exist_ok=True)
            (tmp_path / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(document))
            del document["categories"]
            (tmp_path / "annotations" / f"captions_{split}2017.json").write_text(json.dumps(document))
        data = read(tmp_path)
        assert labels_by_number(data) and (data.samples["split"] != "train").sum() >= 4
        old = tmp_path / "annotations" / "person_train2017.json"
        old.write_text((tmp_path / "annotations" / "instances_train2017.json").read_text())
        with pytest.raises(DataError, match=r"hold annotations of the same images\. Choose one with data\.labels"):
            read(tmp_path)

    def test_caltech(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        root = tmp_path / "101_ObjectCategories"
        for kind, name in enumerate(("BACKGROUND_Google", "accordion")):
            for item in range(4):
                maker.draw(root / name / f"image_{item:04d}.jpg", kind, item)
        assert len(read(root).class_names) == 2
        assert "'BACKGROUND_Google' is Caltech's folder of clutter" in capsys.readouterr().err
        with pytest.raises(DataError, match="101_ObjectCategories"):
            read(tmp_path)


class TestBoxes:
    @pytest.mark.parametrize(
        ("write", "labels"),
        [
            (lambda root: maker.write_coco(root, per_image=2, mixed=True), "."),
            (lambda root: maker.write_yolo(root, boxes=2), "data.yaml"),
        ],
    )
    def test_several_classes_an_image(self, write: Callable[[Path], Path], labels: str, tmp_path: Path) -> None:
        root = write(tmp_path)
        with pytest.raises(
            DataError,
            match=r"16 images of 16 have several labels: .*/000\.jpg \('cup', 'plate'\).*BoundingBoxes with the same",
        ):
            read(root, labels=tmp_path / labels)

    @pytest.mark.parametrize("name", ["coco", "yolo", "voc", "cvat", "labelme"])
    def test_cropped(self, name: str, tmp_path: Path) -> None:
        root = LAYOUTS[name][0](tmp_path)
        data = read_boxes(root, labels=root)
        assert labels_by_number(data)
        assert data.samples["box_xyxy"].iloc[0] == pytest.approx(maker.BOX)
        assert data.image(0).shape == (3, 20, 20)
        assert "group" not in data.samples

    def test_the_context_widens(self, tmp_path: Path) -> None:
        data = read_boxes(maker.write_coco(tmp_path), labels=tmp_path, context=0.2)
        assert data.image(0).shape == (3, 24, 24)

    def test_label_studio(self, tmp_path: Path) -> None:
        data = read_boxes(maker.write_label_studio(tmp_path, boxes=True), labels=tmp_path)
        assert data.samples["box_xyxy"].iloc[3] == pytest.approx(maker.BOX)

    def test_boxes_of_one_image_stay_together(self, tmp_path: Path) -> None:
        data = read_boxes(maker.write_coco(tmp_path, per_image=3, mixed=True), labels=tmp_path, val_fraction=0.3)
        assert len(data.samples) == 48
        assert data.samples.groupby("path")["split"].nunique().max() == 1
        assert (data.samples["group"] == data.samples["path"]).all()

    def test_chosen_classes(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = read_boxes(maker.write_coco(tmp_path), labels=tmp_path, classes=["cup"])
        assert data.class_names == ["cup"] and len(data.samples) == 8
        assert "data.classes excludes 'plate'" in capsys.readouterr().err

    def test_boxes_of_a_table(self, tmp_path: Path) -> None:
        names = maker.draw_all(tmp_path / "images")
        rows = [[f"{name}.jpg", 40, 30, maker.class_of(name), 4, 6, 24, 26] for name in names]
        header = ["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"]
        maker.write_csv(tmp_path / "_annotations.csv", header, rows)
        data = read_boxes(tmp_path, labels="_annotations.csv")
        assert data.samples["box_xyxy"].iloc[0] == maker.BOX
        assert set(data.samples) == {"path", "label", "split", "box_xyxy"}

    @pytest.mark.parametrize(("column", "box"), [("bbox", "[4, 6, 20.0, 20]"), ("bbox_xyxy", "4 6 24 26")])
    def test_a_box_in_one_column(
        self, column: str, box: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        names = maker.draw_all(tmp_path / "images")
        rows = [[name, f'"{box}"', maker.class_of(name)] for name in names]
        maker.write_csv(tmp_path / "train.csv", ["image_id", column, "class"], rows)
        data = read_boxes(tmp_path, labels="train.csv")
        assert data.samples["box_xyxy"].iloc[0] == maker.BOX
        assert f"the column '{column}' is read as x" in capsys.readouterr().err

    def test_columns_of_boxes_are_given(self, tmp_path: Path) -> None:
        names = maker.draw_all(tmp_path / "images")
        rows = [[name, maker.class_of(name), 4, 6, 20, 20] for name in names]
        maker.write_csv(tmp_path / "t.csv", ["id", "label", "a", "b", "c", "d"], rows)
        sides = {"x": "a", "y": "b", "w": "c", "h": "d"}
        assert read_boxes(tmp_path, labels="t.csv", label_columns=sides).samples["box_xyxy"].iloc[0] == maker.BOX
        with pytest.raises(ConfigError, match=r"a box needs the columns 'x', 'y', 'w', 'h'; only 'x' given"):
            read_boxes(tmp_path, labels="t.csv", label_columns={"x": "a"})

    def test_boxes_that_are_none(self, tmp_path: Path) -> None:
        names = maker.draw_all(tmp_path / "images", 3)
        header = ["id", "label", "xmin", "ymin", "xmax", "ymax"]
        boxes = ["cup,,,,", "cup,4,a,8,9", "cup,9,9,3,3"]
        maker.write_csv(tmp_path / "t.csv", header, zip(names, boxes, strict=True))
        with pytest.raises(
            DataError,
            match=r"line 3: expected four numbers xmin.* found '4, a, 8, 9'\n.*1 row with a box without pixels, .*line 4",
        ):
            read_boxes(tmp_path, labels="t.csv")

    def test_two_places_of_boxes(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"data\.boxes and data\.labels both set the location of the boxes"):
            read_boxes(tmp_path, labels="a.json", boxes="b.csv")

    def test_a_table_without_boxes(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = read_boxes(maker.write_kaggle(tmp_path), labels="train.csv")
        assert "box_xyxy" not in data.samples
        assert "train.csv: it has no boxes; the whole images are used" in capsys.readouterr().err


class TestTables:
    """What a table may look like."""

    def test_columns_are_given(self, tmp_path: Path) -> None:
        names = maker.draw_all(tmp_path / "a")
        rows = [
            [name, maker.class_of(name), "big" if name < "006" else "small", f"s{int(name) // 3}"] for name in names
        ]
        maker.write_csv(tmp_path / "t.csv", ["id", "label", "size", "who"], rows)
        columns = {"label": "size", "group": "who"}
        data = read(tmp_path, labels="t.csv", label_columns=columns)
        assert data.class_names == ["big", "small"]
        assert data.samples["group"].nunique() == 4
        with pytest.raises(ConfigError, match=r"no column 'sizes' \(for label\)\. Its columns, nearest first: 'size'"):
            read(tmp_path, labels="t.csv", label_columns={"label": "sizes"})
        with pytest.raises(ConfigError, match=r"label_columns names columns for .* not for 'lable'"):
            read(tmp_path, labels="t.csv", label_columns={"lable": "size"})

    def test_groups_are_said_and_kept_together(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """HAM10000: images in numbered parts, several of one lesion."""
        names = maker.draw_all(tmp_path / "images_part_1", 12)
        names += maker.draw_all(tmp_path / "images_part_2", 12, first=12)
        rows = [[f"L{int(name) // 2 % 6}-{int(name) % 2}", name, maker.class_of(name), 50] for name in names]
        maker.write_csv(tmp_path / "metadata.csv", ["lesion_id", "image_id", "dx", "age"], rows)
        data = read(tmp_path, val_fraction=0.2)
        assert data.class_names == ["cup", "plate"] and len(data.samples) == 24
        assert data.samples.groupby("group")["split"].nunique().max() == 1
        assert data.samples["age"].tolist() == [50] * 24
        assert "group from 'lesion_id'" in capsys.readouterr().err

    @pytest.mark.parametrize("separator", ["\t", ";", "|"])
    def test_separators(self, separator: str, tmp_path: Path) -> None:
        names = maker.draw_all(tmp_path / "a")
        rows = [[f"{name}.jpg", maker.class_of(name)] for name in names]
        file = maker.write_csv(tmp_path / "list.tsv", ["file", "label"], rows, separator)
        assert labels_by_number(read(tmp_path, labels=file))

    @pytest.mark.parametrize("separator", [" ", ",", "\t"])
    def test_a_list_without_a_header(self, separator: str, tmp_path: Path) -> None:
        for split, count, first in (("train", 12, 0), ("val", 4, 20)):
            names = maker.draw_all(tmp_path / "images", count, first=first)
            rows = [[f"images/{name}.jpg", int(name) % 2] for name in names]
            maker.write_csv(tmp_path / f"{split}.txt", [], rows, separator)
        (tmp_path / "names.txt").write_text("cup\nplate\n")
        data = read(tmp_path, label_names="names.txt")
        assert labels_by_number(data) and counts(data) == {"train": 10, "val": 4, "test": 2}

    def test_json(self, tmp_path: Path) -> None:
        names = maker.draw_all(tmp_path / "a")
        (tmp_path / "labels.json").write_text(json.dumps({f"{name}.jpg": maker.class_of(name) for name in names}))
        assert labels_by_number(read(tmp_path))

    def test_split_column_and_further_columns(self, tmp_path: Path) -> None:
        names = maker.draw_all(tmp_path / "a", 16)
        splits = ["Training", "PublicTest", "PrivateTest", "training"]
        rows = [
            [name, maker.class_of(name), splits[int(name) // 4], f"2026-0{1 + int(name) // 4}-01"] for name in names
        ]
        maker.write_csv(tmp_path / "t.csv", ["name", "emotion", "Usage", "day"], rows)
        data = read(tmp_path)
        assert counts(data) == {"train": 8, "val": 4, "test": 4}
        assert data.samples["day"].iloc[0] == "2026-01-01"

    @pytest.mark.parametrize(("column", "train"), [("is_train", "1"), ("is_training_img", "True"), ("is_test", "0")])
    def test_a_split_of_flags(self, column: str, train: str, tmp_path: Path) -> None:
        names = maker.draw_all(tmp_path / "a", 16)
        other = {"1": "0", "True": "False", "0": "1"}[train]
        rows = [[name, maker.class_of(name), train if name < "012" else other] for name in names]
        maker.write_csv(tmp_path / "t.csv", ["name", "class_name", column], rows)
        assert counts(read(tmp_path)) == {"train": 12, "test": 4}

    @pytest.mark.parametrize(
        "form",
        [
            "{root}/a/{name}.jpg",
            "{folder}/a/{name}.jpg",
            "./a/{name}.jpg",
            "a\\{name}.jpg",
            "/home/someone/data/a/{name}.jpg",
            "C:\\data\\a\\{name}.jpg",
            "file:///data/{name}.jpg",
            "{name}.png",
            "{name}",
        ],
    )
    def test_paths_as_other_machines_write_them(self, form: str, tmp_path: Path) -> None:
        names = maker.draw_all(tmp_path / "a")
        maker.draw(tmp_path / "b" / "x.jpg")
        rows = [[form.format(root=tmp_path, folder=tmp_path.name, name=name), maker.class_of(name)] for name in names]
        maker.write_csv(tmp_path / "t.csv", ["path", "label"], rows)
        assert labels_by_number(read(tmp_path, labels="t.csv"))

    def test_names_in_another_unicode_form(self, tmp_path: Path) -> None:
        decomposed, composed = "cafe\u0301", "caf\u00e9"
        for number in range(8):
            maker.draw(tmp_path / decomposed / f"{number}.jpg", number % 2, number)
        rows = [[f"{composed}/{number}.jpg", maker.CLASSES[number % 2]] for number in range(8)]
        maker.write_csv(tmp_path / "t.csv", ["path", "label"], rows)
        data = read(tmp_path, labels="t.csv")
        assert len(data.samples) == 8 and all(data.image(row).shape == (3, 30, 40) for row in range(8))

    def test_a_second_table_of_names(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        names = maker.draw_all(tmp_path / "a")
        maker.write_csv(tmp_path / "t.csv", ["id", "label"], [[name, int(name) % 2] for name in names])
        (tmp_path / "map.json").write_text('{"0": "cup", "1": "plate"}')
        assert labels_by_number(read(tmp_path, labels="t.csv", label_names="map.json"))
        (tmp_path / "map.json").write_text('{"0": "dish", "1": "dish"}')
        assert read(tmp_path, labels="t.csv", label_names="map.json").class_names == ["dish"]
        assert "map.json gives several labels the names 'dish': one class each" in capsys.readouterr().err
        (tmp_path / "map.json").write_text('{"0": "cup"}')
        with pytest.raises(DataError, match=r"map\.json has no name for the label '1' of 6 images"):
            read(tmp_path, labels="t.csv", label_names="map.json")

    def test_parquet(self, tmp_path: Path) -> None:
        parquet = pytest.importorskip("pyarrow.parquet")
        import pyarrow

        names = maker.draw_all(tmp_path / "a")
        features = {"info": {"features": {"label": {"names": ["cup", "plate"], "_type": "ClassLabel"}}}}
        columns = {"image": [f"{name}.jpg" for name in names], "label": [int(name) % 2 for name in names]}
        table = pyarrow.table(columns).replace_schema_metadata({"huggingface": json.dumps(features)})
        parquet.write_table(table, tmp_path / "t.parquet")
        assert labels_by_number(read(tmp_path))
        inside = {"image": [{"bytes": b"x", "path": "a.jpg"}], "label": [0]}
        parquet.write_table(pyarrow.table(inside), tmp_path / "t.parquet")
        with pytest.raises(DataError, match=r"holds the images themselves \(the column 'image'\).*ParquetImages"):
            read(tmp_path, labels="t.parquet")

    def test_parquet_without_its_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        maker.draw_all(tmp_path / "a")
        (tmp_path / "t.parquet").write_bytes(b"PAR1")
        monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
        with pytest.raises(DataError, match=r"needs the package pyarrow: pip install 'lightning_vision\[parquet\]'"):
            read(tmp_path, labels="t.parquet")

    def test_metadata_beside_labels(self, tmp_path: Path) -> None:
        root = maker.write_kaggle(tmp_path)
        rows = [[f"train_images/{n:03d}.jpg", f"d{n // 6}"] for n in range(12)]
        maker.write_csv(root / "facts.csv", ["path", "day"], rows)
        data = read(root, metadata="facts.csv", stream=FromColumn("day"))
        assert [item.name for item in data.stream] == ["d0", "d1"]


class TestPattern:
    def test_labels_in_names(self, tmp_path: Path) -> None:
        for number in range(12):
            name = f"{maker.CLASSES[number % 2]}_{number:03d}_s{number // 4}.jpg"
            maker.draw(tmp_path / "images" / name, number % 2, number)
        pattern = r"^(?P<label>[a-z]+)_\d+_(?P<group>s\d)"
        data = read(tmp_path, label_pattern=pattern)
        assert data.class_names == ["cup", "plate"]
        assert data.samples["group"].nunique() == 3
        maker.draw(tmp_path / "images" / "noname.jpg")
        with pytest.raises(DataError, match=r"images/noname\.jpg: its name does not match data\.label_pattern"):
            read(tmp_path, label_pattern=pattern)
        assert len(read(tmp_path, label_pattern=pattern, on_bad_image="skip").samples) == 12
        in_path = read(tmp_path, label_pattern=r"images/(?P<label>[a-z])", on_bad_image="skip")
        assert in_path.class_names == ["c", "n", "p"]

    @pytest.mark.parametrize(
        ("pattern", "words"),
        [
            (r"(?P<label>[a-z]+", "is not a regular expression"),
            (r"([a-z]+)_", "has no group called label"),
        ],
    )
    def test_refused(self, pattern: str, words: str, tmp_path: Path) -> None:
        maker.draw_all(tmp_path)
        with pytest.raises(ConfigError, match=words):
            read(tmp_path, label_pattern=pattern)

    def test_no_image_matches(self, tmp_path: Path) -> None:
        maker.draw_all(tmp_path)
        with pytest.raises(DataError, match=r"none of the 12 images below .* matches .*; they are called '000\.jpg'"):
            read(tmp_path, label_pattern=r"(?P<label>dog)")


class TestWhatDecides:
    """Folders or a file, where both could."""

    def folders(self, root: Path) -> list[str]:
        for number in range(12):
            maker.draw(root / maker.CLASSES[number % 2] / f"{number:03d}.jpg", number % 2, number)
        return [f"{number:03d}" for number in range(12)]

    def test_a_table_that_says_the_same_changes_nothing(self, tmp_path: Path) -> None:
        plain = read(tmp_path) if self.folders(tmp_path) else None
        rows = [[f"{n:03d}.jpg", maker.CLASSES[n % 2].upper()] for n in range(12)]
        maker.write_csv(tmp_path / "t.csv", ["path", "class"], rows)
        assert plain is not None and read(tmp_path).split_hash == plain.split_hash

    def test_a_table_that_numbers_the_folders_changes_nothing(self, tmp_path: Path) -> None:
        names = self.folders(tmp_path)
        maker.write_csv(
            tmp_path / "t.csv",
            ["path", "class_id"],
            [[f"{maker.class_of(name)}/{name}", int(name) % 2] for name in names],
        )
        assert read(tmp_path).class_names == ["cup", "plate"]

    def test_captions_are_no_labels(self, tmp_path: Path) -> None:
        names = self.folders(tmp_path)
        maker.write_csv(
            tmp_path / "metadata.csv", ["file_name", "text"], [[f"{n}.jpg", f"a photo of {n}"] for n in names]
        )
        assert read(tmp_path).class_names == ["cup", "plate"]

    def test_a_table_that_says_something_else_is_asked_about(self, tmp_path: Path) -> None:
        names = self.folders(tmp_path)
        maker.write_csv(tmp_path / "t.csv", ["path", "class"], [[name, int(name) // 6] for name in names])
        with pytest.raises(
            DataError, match=r"has the folders 'cup', 'plate', and 't\.csv' labels the images in them '0', '1'"
        ):
            read(tmp_path)
        assert read(tmp_path, labels="t.csv").class_names == ["0", "1"]
        assert read(tmp_path, labels="folders").class_names == ["cup", "plate"]

    def test_tables_that_label_nothing(self, tmp_path: Path) -> None:
        names = [f"{maker.class_of(name)}/{name}" for name in self.folders(tmp_path)]
        maker.write_csv(tmp_path / "facts.csv", ["path", "day", "weight"], [[name, 1, 2.5] for name in names])
        maker.write_csv(
            tmp_path / "days.csv", ["path", "day"], [[name, f"2026-03-0{int(name[-3:]) % 3}"] for name in names]
        )
        maker.write_csv(tmp_path / "places.csv", ["path", "kitchen"], [[name, int(name[-3:]) % 3] for name in names])
        maker.write_csv(
            tmp_path / "flags.csv", ["path", "red", "new"], [[name, 1, int(name[-3:]) % 2] for name in names]
        )
        splits = ["one", "two", "one"]
        rows = [[name, maker.class_of(name[-3:]), splits[int(name[-3:]) % 3], ""] for name in names]
        maker.write_csv(tmp_path / "same.csv", ["path", "label", "split", "name"], rows)
        (tmp_path / "cup" / "000.json").write_text("no JSON")
        (tmp_path / "latin.csv").write_bytes("path,label\n000,caf\u00e9\n".encode("latin-1"))
        (tmp_path / "notes.txt").write_text("to do: 'label' the rest\n")
        assert read(tmp_path).class_names == ["cup", "plate"]

    def test_several_tables(self, tmp_path: Path) -> None:
        names = maker.draw_all(tmp_path / "images")
        for file, divide in (("one.csv", 2), ("two.csv", 3)):
            maker.write_csv(tmp_path / file, ["id", "label"], [[name, int(name) % divide] for name in names])
        with pytest.raises(DataError, match=r"'one\.csv', 'two\.csv' all label images .* Choose one with data\.labels"):
            read(tmp_path)
        assert read(tmp_path, labels="two.csv").num_classes == 3

    def test_two_options(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"data\.label_pattern and data\.labels both say"):
            read(tmp_path, labels="a.csv", label_pattern="(?P<label>.)")

    def test_several_formats(self, tmp_path: Path) -> None:
        maker.write_cvat(tmp_path)
        (tmp_path / "coco.json").write_text(json.dumps(maker.coco_document(["000.jpg"])))
        with pytest.raises(DataError, match=r"annotations in several formats .*data\.labels_format: coco, cvat"):
            read(tmp_path)
        assert read(tmp_path, labels_format="cvat").class_names == ["cup", "plate"]


class TestMalformed:
    """Every part of a table that can be wrong, in words."""

    @pytest.mark.parametrize(
        ("header", "rows", "words"),
        [
            (["id", "label"], [["000", "a"], ["nowhere", "b"]], r"t\.csv line 3: image not found \(nowhere\)"),
            (["id", "label"], [["x", "a"], ["y", "b"]], r"no column names images of the folder \(its first row: id 'x'"),
            (["file", "label"], [["x.jpg", "a"], ["y.jpg", "b"]], r"none of its 2 names is an image below .*the folder has"),
            (["id", "label"], [["000", "a"], ["000", "b"], ["001", "a"]], r"1 image of 2 has several labels: .*000\.jpg \('a', 'b'\)"),
            (["id", "one", "two"], [["000", "a", "c"], ["001", "b", "d"]], r"no column is recognised as the label.*'one', 'two'"),
            (["id", "label", "dx"], [["000", "a", "c"], ["001", "b", "c"]], r"the columns 'label', 'dx' could be the label"),
            (["id", "label", "split"], [["000", "a", "mars"], ["001", "b", "test"]], r"line 2: split is 'mars', expected train"),
            (["id", "label"], [["000", "a"], ["", "b"]], r"line 3: id is empty, expected the name of an image"),
            (["id", "label"], [["000", "a"], ["001"]], r"line 3: 1 field, expected 2"),
            (["id", "cup", "plate"], [["000", 1, 0], ["001", 1, 1]], r"line 3: several labels, 'cup', 'plate'; a classifier"),
            (["id", "cup", "plate"], [["000", 1, 0], ["001", 0, 0]], r"line 3: no label; a classifier"),
            (["id", "label"], [[f"{n:03d}", f"c{n}"] for n in range(12)], r"Each of the 12 labels is another one"),
            (["id", "label"], [["000", "a"], ["001", "b"], ["002", "a|b"]], r"Labels such as 'a\|b' are several labels"),
            (["id", "label", "label"], [["000", "a", "b"]], r"has the column 'label' twice"),
        ],
    )  # fmt: skip
    def test_tables(self, header: list[str], rows: list[list[object]], words: str, tmp_path: Path) -> None:
        maker.draw_all(tmp_path / "a")
        maker.write_csv(tmp_path / "t.csv", header, rows)
        with pytest.raises(DataError, match=words):
            read(tmp_path, labels="t.csv")

    def test_one_name_of_several_images(self, tmp_path: Path) -> None:
        for folder in ("a", "b"):
            maker.draw_all(tmp_path / folder, 2)
        maker.write_csv(tmp_path / "t.csv", ["id", "label"], [["000", "x"], ["b/001", "y"]])
        with pytest.raises(DataError, match=r"t\.csv line 2: several images are called '000'; write their folder too"):
            read(tmp_path, labels="t.csv")

    def test_a_wrong_folder_is_not_repaired(self, tmp_path: Path) -> None:
        """An image of the same name in another folder is another image."""
        maker.draw(tmp_path / "a" / "000.jpg")
        maker.draw(tmp_path / "b" / "001.jpg")
        maker.write_csv(tmp_path / "t.csv", ["path", "label"], [["a/000.jpg", "x"], ["a/001.jpg", "y"]])
        with pytest.raises(DataError, match=r"t\.csv line 3: image not found \(a/001\.jpg\)"):
            read(tmp_path, labels="t.csv")

    def test_numbers_are_no_classes(self, tmp_path: Path) -> None:
        names = maker.draw_all(tmp_path / "a")
        (tmp_path / "t.json").write_text(json.dumps([{"id": name, "label": int(name) / 3} for name in names]))
        with pytest.raises(DataError, match=r"'label' holds numbers such as .*: a quantity, not the name of a class"):
            read(tmp_path, labels="t.json")

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("t.csv", b"\xff\xfeid,label", r"is not UTF-8 text: line 1 contains the byte 0xff"),
            ("t.csv", b"", r"is empty\. Expected a table"),
            ("t.json", b'{"images": [', r"is not valid JSON: .*export or download it again"),
            ("t.json", b"[1, 2]", r"row 1: expected an object, found 1|no column"),
            ("t.jsonl", b'{"file_name": "000.jpg", "label": "a"}\n{"file', r"t\.jsonl line 2: not valid JSON"),
            ("t.xml", b"<annotation><object>", r"is not valid XML: no element found"),
            ("t.xml", b'<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', r"declares XML entities"),
            ("t.yaml", b"names: !!python/object/apply:os.system [ls]\ntrain: a", r"not YAML of plain values|not recognised"),
            ("t.docx", b"x", r"the format of .* is not recognised\. Tables"),
        ],
    )  # fmt: skip
    def test_files(self, name: str, content: bytes, words: str, tmp_path: Path) -> None:
        maker.draw_all(tmp_path / "a")
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=words):
            read(tmp_path, labels=name)

    def test_no_such_file(self, tmp_path: Path) -> None:
        maker.draw_all(tmp_path)
        with pytest.raises(DataError, match=r"data\.labels: there is no file or folder; searched"):
            read(tmp_path, labels="nowhere.csv")
        with pytest.raises(DataError, match=r"no file in .* labels the images"):
            read(tmp_path, labels=tmp_path)
