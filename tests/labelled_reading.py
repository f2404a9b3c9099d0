"""Reads small folders of labelled images, and says what was read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import label_maker as maker
from label_maker import QUICK

from datamodules import BoundingBoxes, ImageFolder
from lightning_vision.data.datamodule import StreamDataModule


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
