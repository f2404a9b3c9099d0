"""Boxes of annotation files: images cropped to them, or whole images that have one class."""

from collections.abc import Callable
from pathlib import Path

import label_maker as maker
import pytest
from labelled_reading import LAYOUTS, labels_by_number, read, read_boxes

from lightning_vision.errors import ConfigError, DataError


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

    def test_yolos_files_behind_links(self, tmp_path: Path) -> None:
        stored, root = maker.write_yolo(tmp_path / "stored"), tmp_path / "root"
        root.mkdir()
        for name in ("images", "labels", "data.yaml"):
            (root / name).symlink_to(stored / name)
        assert read_boxes(root, labels="data.yaml").samples.equals(read_boxes(stored, labels="data.yaml").samples)
        assert labels_by_number(read(root))

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
