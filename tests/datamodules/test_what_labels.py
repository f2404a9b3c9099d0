"""Labels by the names of files, and which of folders and files labels images where both could."""

import json
from pathlib import Path

import label_maker as maker
import pytest
from labelled_reading import read

from lightning_vision.errors import ConfigError, DataError


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
