"""The column objects of the library ``datasets``: classes of whole images, and images cropped to boxes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dataset_saver import CLASSES, made, objects_feature, rows_of
from label_maker import QUICK
from torchvision_maker import drawn

from datamodules import HuggingFaceDataset
from lightning_vision.errors import ConfigError, DataError

pytest.importorskip("datasets")


def save(folder: Path, rows: dict[str, list[Any]], of_objects: bool = False) -> Path:
    made(rows, label=None, objects=objects_feature(of_objects)).save_to_disk(str(folder))
    return folder


def read(folder: Path, **options: Any) -> HuggingFaceDataset:
    return HuggingFaceDataset(str(folder), **{**QUICK, "test_fraction": 0.25, **options})


@pytest.mark.parametrize("of_objects", [False, True])
def test_both_forms_label_whole_images(of_objects: bool, tmp_path: Path) -> None:
    rows = rows_of(12)
    if of_objects:
        rows["objects"] = [
            [{"bbox": box, "category": category, "area": 1} for box, category in zip(item["bbox"], item["category"], strict=True)]
            for item in rows["objects"]
        ]  # fmt: skip
    data = read(save(tmp_path / "saved", rows, of_objects))
    assert data.class_names == list(CLASSES) and len(data.samples) == 12
    assert data.samples["label"].tolist() == [int(path[-1]) % 2 for path in data.samples["path"]]
    assert data.image(0).shape == (3, 24, 24)


def test_boxes_are_cut_out(tmp_path: Path) -> None:
    data = read(save(tmp_path / "saved", rows_of(12)), crop_to_boxes=True)
    assert len(data.samples) == 24 and data.samples["group"].nunique() == 12
    assert data.samples.groupby("group")["split"].nunique().max() == 1
    whole = torch.from_numpy(drawn(1, 1, 24)).permute(2, 0, 1)
    assert torch.equal(data.image(2), whole[:, 4:16, 2:12]) and torch.equal(data.image(3), whole[:, 0:16, 6:14])
    assert len(np.unique(data.prepared.digests, axis=0)) == 24, "two boxes of an image are not the same image"
    assert np.array_equal(
        data.prepared.digests, read(tmp_path / "saved", crop_to_boxes=True, inspect="off").prepared.digests
    )


def test_images_without_objects_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(12)
    rows["objects"][0] = {"bbox": [], "category": [], "area": []}
    folder = save(tmp_path / "saved", rows)
    for options, count in (({}, 11), ({"crop_to_boxes": True}, 22)):
        assert len(read(folder, **options).samples) == count
        assert "1 row of 12 without a label not used" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ({"bbox": [[1, 2, 3, 4]], "category": [0, 1], "area": []}, "objects of row 0: expected as many boxes as categories"),
        ({"bbox": [[1, 2, 0, 4]], "category": [0], "area": []}, "objects of row 0: the box has no pixels"),
        ({"bbox": [[1, 2, 3, 4]] * 2, "category": [0, 1], "area": []}, r"1 image of 8 has boxes of several classes \(row 0: 'cat', 'ant'\).*crop_to_boxes"),
    ],
)  # fmt: skip
def test_objects_that_cannot_be(objects: dict[str, Any], words: str, tmp_path: Path) -> None:
    rows = rows_of(8)
    rows["objects"][0] = objects
    with pytest.raises(DataError, match=words):
        read(save(tmp_path / "saved", rows))


def test_a_box_outside_its_image_is_named(tmp_path: Path) -> None:
    rows = rows_of(8)
    rows["objects"][3] = {"bbox": [[30, 2, 3, 4]], "category": [1], "area": [12]}
    with pytest.raises(
        DataError, match=r"all/0000003 cannot be cropped: the box lies outside the image .*24 x 24 pixels"
    ):
        read(save(tmp_path / "saved", rows), crop_to_boxes=True)


def test_a_dataset_without_boxes(tmp_path: Path) -> None:
    made(rows_of(8)).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(
        ConfigError, match=r"data\.crop_to_boxes: .* has no column 'objects' with boxes\. Its columns: 'image"
    ):
        read(tmp_path / "saved", crop_to_boxes=True)
