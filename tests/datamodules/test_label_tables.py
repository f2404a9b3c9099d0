"""Tables that label images: what they may look like, and what is refused in words."""

import json
from pathlib import Path

import label_maker as maker
import pytest
from labelled_reading import counts, labels_by_number, read

from lightning_vision.data.scenarios import FromColumn
from lightning_vision.errors import ConfigError, DataError


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
