"""The column objects of Hugging Face's detection datasets, in tables."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import label_maker as maker
import pytest
from label_maker import QUICK

from datamodules import BoundingBoxes, ImageFolder
from datamodules.label_formats.object_lists import objects_of
from lightning_vision.errors import DataError


def write(root: Path, count: int = 12, **changed: Any) -> Path:
    """images with metadata.jsonl of the library datasets; ``changed`` replaces the objects of 000.jpg."""
    rows = []
    for name in maker.draw_all(root, count):
        objects = changed.get("objects") if name == "000" and changed else maker.hugging_face_objects(name)
        rows.append({"file_name": f"{name}.jpg", "objects": objects})
    (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def test_boxes_of_metadata(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "names.json").write_text('["cup", "plate"]')
    data = BoundingBoxes(write(tmp_path), labels="metadata.jsonl", label_names="names.json", **QUICK)
    assert len(data.samples) == 24 and data.class_names == ["cup", "plate"]
    assert data.samples["box_xyxy"].iloc[0] == maker.BOX
    assert data.samples["label"].tolist() == [int(path[:3]) % 2 for path in data.samples["path"]]
    assert "'objects' is read as boxes (x, y, width and height) with categories" in capsys.readouterr().err


def test_whole_images_of_one_category(tmp_path: Path) -> None:
    assert ImageFolder(write(tmp_path), **QUICK).class_names == ["0", "1"]


def test_an_image_without_objects_has_no_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ImageFolder(write(tmp_path, objects={"bbox": [], "category": []}), **QUICK)
    assert len(data.samples) == 11
    assert "1 image without a label, not used" in capsys.readouterr().err


def test_both_forms_are_the_same() -> None:
    lists: dict[str, list[Any]] = {"bbox": [[1, 2, 3, 4], [5, 6, 7, 8]], "categories": ["a", "b"], "area": [12, 56]}
    objects = [{"bbox": box, "label": name} for box, name in zip(lists["bbox"], lists["categories"], strict=True)]
    assert objects_of(lists) == objects_of(objects) == [([1, 2, 3, 4], "a"), ([5, 6, 7, 8], "b")]
    assert objects_of(None) == []


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ({"bbox": [[1, 2, 3, 4]], "category": [0, 1]}, "expected as many boxes as categories"),
        ({"bbox": [[1, 2, 3]], "category": [0]}, r"expected boxes of four numbers x, y, width and height, found \[1, 2, 3\]"),
        ({"bbox": [[1, 2, "a", 4]], "category": [0]}, "expected boxes of four numbers"),
        ({"bbox": [[1, 2, 0, 4]], "category": [0]}, r"the box has no pixels \(0 wide and 4 high\)"),
        ({"bbox": [[1, 2, 3, 4]], "category": [[0]]}, r"expected a category for each box, found \[0\]"),
        ({"bbox": [[1, 2, 3, 4]], "area": [12]}, "expected 'bbox' and 'category'"),
        ("x", "expected 'bbox' and 'category', found 'x'"),
    ],
)  # fmt: skip
def test_objects_that_cannot_be(objects: Mapping[str, Any] | str, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"metadata\.jsonl line 1: objects: {words}"):
        BoundingBoxes(write(tmp_path, objects=objects), labels="metadata.jsonl", **QUICK)
