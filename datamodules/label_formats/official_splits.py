"""Datasets of the field whose labels and official split lie in files beside the images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datamodules.annotation_tables import read_mat_columns
from datamodules.label_formats.domain_net import DOMAINS, is_domain_net, read_domain_net
from datamodules.label_formats.text_lists import pairs, records
from datamodules.label_rows import CORNERS, LabelRows, make_rows
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import listed


class Dataset(NamedTuple):
    """A dataset that is recognised by its files."""

    name: str
    files: tuple[str, ...]
    """All are there, relative to the root; with ``recognise`` some of them."""
    read: Callable[[Path, DataProblems], LabelRows]
    recognise: Callable[[Path], bool] | None = None
    """Whether a folder is the dataset; None: by its files."""

    def lies_in(self, root: Path) -> bool:
        """Whether a folder is the dataset."""
        if self.recognise is not None:
            return self.recognise(root)
        return all((root / file).exists() for file in self.files)


def find_dataset(root: Path) -> Dataset | None:
    """The dataset whose files lie in a folder; None if there is none."""
    return next((item for item in DATASETS if item.lies_in(root)), None)


def _read_cub(root: Path, problems: DataProblems) -> LabelRows:
    """CUB-200: images.txt, train_test_split.txt (1: training) and, where they are, labels, names and boxes by id."""
    images = records(root / "images.txt", 2, problems)
    trains = pairs(root / "train_test_split.txt", problems)
    classes, names, boxes = {}, {}, {}
    if (root / "image_class_labels.txt").is_file() and (root / "classes.txt").is_file():
        classes = pairs(root / "image_class_labels.txt", problems)
        names = pairs(root / "classes.txt", problems)
    if (root / "bounding_boxes.txt").is_file():
        boxes = {key: rest.split() for key, rest in pairs(root / "bounding_boxes.txt", problems).items()}
    found: list[dict[str, Any]] = []
    for line, (identifier, path) in images:
        split = {"1": "train", "0": "test"}.get(trains.get(identifier, ""))
        if split is None:
            problems.problem(f"train_test_split.txt: expected 0 or 1 for image {identifier} ({path})")
            continue
        folder = path.split("/")[0]
        label = names.get(classes.get(identifier, ""), folder)
        row = {"name": f"images/{path}", "label": label, "file": "images.txt", "number": line, "split": split}
        found.append(row | _box(identifier, boxes, problems))
    return LabelRows(make_rows(found), "CUB-200", "line", root / "images.txt")


def _box(identifier: str, boxes: dict[str, list[str]], problems: DataProblems) -> dict[str, float]:
    if not boxes:
        return {}
    try:
        x, y, width, height = (float(side) for side in boxes.get(identifier, []))
    except ValueError:
        problems.problem(f"bounding_boxes.txt: expected x, y, width and height of image {identifier}")
        return dict.fromkeys(CORNERS, np.nan)
    return dict(zip(CORNERS, (x, y, x + width, y + height), strict=True))


def _read_food(root: Path, problems: DataProblems) -> LabelRows:
    """Food-101: meta/train.txt and meta/test.txt with <class>/<image> without suffix."""
    found = [
        {
            "name": f"images/{path}",
            "label": path.split("/")[0],
            "file": f"meta/{split}.txt",
            "number": line,
            "split": split,
        }
        for split in ("train", "test")
        for line, (path,) in records(root / "meta" / f"{split}.txt", 1, problems)
    ]
    return LabelRows(make_rows(found), "Food-101", "line", root / "meta")


def _read_pets(root: Path, problems: DataProblems) -> LabelRows:
    """Oxford-IIIT Pet: annotations/trainval.txt and test.txt with <Breed>_<number> <class> <species> <breed>."""
    found: list[dict[str, Any]] = []
    for name, split in (("trainval", "train"), ("test", "test")):
        for line, (image, *_) in records(root / "annotations" / f"{name}.txt", 4, problems):
            label = image.rpartition("_")[0]
            found.append(
                {"name": f"images/{image}", "label": label, "file": f"{name}.txt", "number": line, "split": split}
            )
    return LabelRows(make_rows(found), "Oxford-IIIT Pet", "line", root / "annotations")


def _read_flowers(root: Path, problems: DataProblems) -> LabelRows:
    """Flowers-102: imagelabels.mat and setid.mat with the numbers, from 1, of image_<number>.jpg in each part."""
    labels = read_mat_columns(root / "imagelabels.mat", {"labels": "label"}).rows["label"].tolist()
    found: list[dict[str, Any]] = []
    for variable, split in (("trnid", "train"), ("valid", "val"), ("tstid", "test")):
        for number in read_mat_columns(root / "setid.mat", {variable: "number"}).rows["number"].tolist():
            if not isinstance(number, int) or not 1 <= number <= len(labels):
                problems.problem(f"setid.mat: {variable} has image {number}; there are labels for 1 to {len(labels)}")
                continue
            found.append(
                {
                    "name": f"jpg/image_{number:05d}.jpg",
                    "label": str(labels[number - 1]),
                    "file": "setid.mat",
                    "number": number,
                    "split": split,
                }
            )
    problems.remark("Flowers-102: classes are called by their numbers, from 1. Give their names with data.label_names.")
    return LabelRows(make_rows(found), "Flowers-102", "image", root / "setid.mat")


def _read_tiny_imagenet(root: Path, problems: DataProblems) -> LabelRows:
    """Tiny ImageNet: train/<class>/images/*.JPEG, and val/val_annotations.txt; the test set has no labels.

    The official validation set is the test set, as is usual for it. Classes are called by their synsets; words.txt as
    data.label_names gives them words.
    """
    found: list[dict[str, Any]] = []
    for folder in sorted(place for place in (root / "train").iterdir() if place.is_dir()):
        inside = folder / "images" if (folder / "images").is_dir() else folder
        for number, image in enumerate(sorted(place.name for place in inside.iterdir()), start=1):
            if image.lower().endswith((".jpeg", ".jpg", ".png")):
                path = (inside / image).relative_to(root).as_posix()
                found.append({"name": path, "label": folder.name, "file": path, "number": number, "split": "train"})
    for line, (image, label, *_) in records(root / "val" / "val_annotations.txt", 6, problems):
        found.append(
            {
                "name": f"val/images/{image}",
                "label": label,
                "file": "val_annotations.txt",
                "number": line,
                "split": "test",
            }
        )
    return LabelRows(make_rows(found), "Tiny ImageNet", "line", root / "val" / "val_annotations.txt")


def _read_aircraft(root: Path, problems: DataProblems) -> LabelRows:
    """FGVC-Aircraft: images_variant_{train,val,test}.txt with <image> <variant>."""
    found = [
        {
            "name": f"images/{image}",
            "label": label,
            "file": f"images_variant_{split}.txt",
            "number": line,
            "split": split,
        }
        for split in ("train", "val", "test")
        for line, (image, label) in records(root / f"images_variant_{split}.txt", 2, problems)
    ]
    return LabelRows(make_rows(found), "FGVC-Aircraft", "line", root / "images_variant_train.txt")


DATASETS: Sequence[Dataset] = (
    Dataset("CUB-200", ("images", "images.txt", "train_test_split.txt"), _read_cub),
    Dataset("Food-101", ("images", "meta/train.txt", "meta/test.txt"), _read_food),
    Dataset("Oxford-IIIT Pet", ("images", "annotations/trainval.txt", "annotations/test.txt"), _read_pets),
    Dataset("Flowers-102", ("jpg", "imagelabels.mat", "setid.mat"), _read_flowers),
    Dataset("Tiny ImageNet", ("train", "val/val_annotations.txt"), _read_tiny_imagenet),
    Dataset(
        "FGVC-Aircraft",
        ("images", *(f"images_variant_{part}.txt" for part in ("train", "val", "test"))),
        _read_aircraft,
    ),
    Dataset("DomainNet", DOMAINS, read_domain_net, is_domain_net),
)
"""Recognised by their files; the first that fits."""

OTHERS = (
    (("core50_128x128",), "CORe50", "CORe50"),
    (("car_ims", "cars_annos.mat"), "Stanford Cars", "StanfordCars"),
    (("devkit", "cars_train"), "Stanford Cars", "StanfordCars"),
    (("Images", "Annotation"), "Stanford Dogs", "StanfordDogs"),
)
"""Datasets that have a datamodule of their own: their files, their name and its name."""


def refuse_others(root: Path) -> None:
    """Refuse a dataset that another datamodule reads.

    Raises:
        DataError: It says which.
    """
    for files, name, datamodule in OTHERS:
        if all((root / file).exists() for file in files):
            raise DataError(
                f"data.root: {root} is {name} (it holds {listed(files)}). Read it with the datamodule {datamodule}."
            )


CLUTTER = ("BACKGROUND_Google", "257.clutter")
"""Folders of Caltech-101 and Caltech-256 that are no class of objects."""


def remark_on_clutter(class_names: Sequence[str], problems: DataProblems) -> None:
    """Say that a class holds images of anything, if one does."""
    for name in CLUTTER:
        if name in class_names:
            problems.remark(f"'{name}' is Caltech's folder of clutter, and a class here. Move it away to leave it out.")
