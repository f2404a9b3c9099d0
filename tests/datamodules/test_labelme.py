"""labelme's files: one for each image, in its folder or in another one."""

import json
from pathlib import Path
from typing import Any

import label_maker as maker
import pytest
from label_maker import QUICK

from datamodules import BoundingBoxes, ImageFolder
from datamodules.label_formats.labelme import read_labelme
from datamodules.label_rows import LabelRows
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError


def read_one(folder: Path, document: Any) -> tuple[LabelRows, DataProblems]:
    """The rows of one file beside 000.jpg, and what is wrong."""
    maker.draw(folder / "000.jpg")
    (folder / "000.json").write_text(json.dumps(document), encoding="utf-8")
    problems = DataProblems()
    return read_labelme([folder / "000.json"], folder, {"000.jpg"}, problems), problems


def corners(rows: LabelRows, row: int = 0) -> tuple[float, ...]:
    x1, y1, x2, y2 = (float(rows.rows[name].iloc[row]) for name in ("x1", "y1", "x2", "y2"))
    return x1, y1, x2, y2


@pytest.mark.parametrize(
    ("kind", "points", "box"),
    [
        ("rectangle", [[24, 26], [4, 6]], maker.BOX),
        ("polygon", [[4, 10], [24, 6], [12, 26]], maker.BOX),
        ("rotation", [[14, 6], [24, 16], [14, 26], [4, 16]], maker.BOX),
        ("circle", [[14, 16], [17, 20]], (9, 11, 19, 21)),
        ("mask", [[4, 6], [24, 26]], maker.BOX),
    ],
)
def test_shapes_become_boxes(kind: str, points: list[list[float]], box: tuple[float, ...], tmp_path: Path) -> None:
    rows, problems = read_one(tmp_path, maker.labelme_document("000.jpg", [maker.labelme_shape("cup", points, kind)]))
    assert corners(rows) == box and rows.rows["label"].tolist() == ["cup"] and not problems.problems


def test_points_and_lines_are_counted(tmp_path: Path) -> None:
    shapes = [maker.labelme_shape("cup", [[1, 1]], "point"), maker.labelme_shape("cup", [[1, 1], [2, 2]], "line")]
    rows, problems = read_one(tmp_path, maker.labelme_document("000.jpg", shapes))
    assert rows.rows["label"].isna().tolist() == [True]
    assert sorted(problems.left_out) == [f"shapes of kind {kind}, which have no box" for kind in ("line", "point")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shapes": {}}, "000.json: expected a list of shapes, found {}"),
        ({"shapes": ["x"]}, "000.json shape 1: expected an object, found 'x'"),
        ({"shapes": [maker.labelme_shape(" ", [[1, 1], [3, 3]])]}, "000.json shape 1: it has no label"),
        ({"shapes": [maker.labelme_shape("cup", [[1, 1], [3]])]}, "000.json shape 1: expected a box of four numbers"),
        ({"shapes": [maker.labelme_shape("cup", [])]}, "000.json shape 1: expected a box of four numbers"),
        ({"shapes": [maker.labelme_shape("cup", [[1, 1]], "circle")]}, "000.json shape 1: expected a box of four numbers"),
        ({"shapes": [maker.labelme_shape("cup", [[1, 1], [1, 9]])]}, "000.json shape 1: the box has no pixels (0 wide"),
        ({"flags": {"cup": "yes"}}, "000.json: expected flags of true or false, found {'cup': 'yes'}"),
        ({"imageHeight": 300, "imageWidth": 400}, "drawn on an image of 400 x 300 pixels, and 000.jpg has 40 x 30"),
        ({"imageHeight": "30"}, "drawn on an image of 40 x 30 pixels"),
    ],
)  # fmt: skip
def test_parts_that_cannot_be(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    shapes = [maker.labelme_shape("cup", [[1, 1], [3, 3]])]
    _, problems = read_one(tmp_path, {**maker.labelme_document("000.jpg", shapes), **change})
    assert words in "\n".join([*problems.problems, *(f"{path}: {reason}" for path, reason in problems.unusable)])


def test_another_document(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not a file of labelme: expected 'imagePath' and 'shapes', found 'a'"):
        read_one(tmp_path, {"a": 1})
    (tmp_path / "000.json").write_text('{"imagePath": "000.jpg", "shapes": [')
    with pytest.raises(DataError, match=r"000\.json is not valid JSON"):
        ImageFolder(tmp_path, labels="000.json", labels_format="labelme", **QUICK)


def test_files_in_a_folder_of_their_own(tmp_path: Path) -> None:
    """Two folders of images with equal names: the path in the file says which is meant, with the slashes of Windows."""
    for folder in ("a", "b"):
        for number, name in enumerate(maker.draw_all(tmp_path / folder / "img", 4)):
            label = maker.CLASSES[(number + (folder == "b")) % 2]
            document = maker.labelme_document(f"..\\img\\{name}.jpg", [maker.labelme_shape(label, [[1, 1], [9, 9]])])
            (tmp_path / folder / "ann").mkdir(exist_ok=True)
            (tmp_path / folder / "ann" / f"{name}.json").write_text(json.dumps(document))
    data = BoundingBoxes(tmp_path, labels=".", **QUICK)
    assert len(data.samples) == 8
    for path, label in zip(data.samples["path"], data.samples["label"], strict=True):
        assert label == (int(path[-7:-4]) + path.startswith("b")) % 2


def test_a_renamed_image_is_found_beside_its_file(tmp_path: Path) -> None:
    maker.write_labelme(tmp_path)
    for file in (tmp_path / "images").glob("*.json"):
        document = json.loads(file.read_text())
        file.write_text(json.dumps({**document, "imagePath": "C:\\photos\\IMG_" + file.stem + ".jpeg"}))
    assert len(ImageFolder(tmp_path, **QUICK).samples) == 12


def test_beside_class_folders_the_folders_are_the_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, kind in enumerate(maker.CLASSES):
        for name in maker.draw_all(tmp_path / kind, 4, first=4 * number):
            document = maker.labelme_document(f"{name}.jpg", [maker.labelme_shape("scratch", [[1, 1], [9, 9]])])
            (tmp_path / kind / f"{name}.json").write_text(json.dumps(document))
    assert ImageFolder(tmp_path, **QUICK).class_names == ["cup", "plate"]
    assert "the class folders are the labels" in capsys.readouterr().err
    assert BoundingBoxes(tmp_path, labels=".", **QUICK).class_names == ["scratch"]
