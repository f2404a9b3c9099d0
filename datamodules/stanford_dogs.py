"""Stanford Dogs: 120 breeds from ImageNet."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from datamodules.annotation_tables import read_mat_columns
from datamodules.dataset_folder import images_in, missing_layout, sub_folders
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import listed, plural

CLASS_FOLDER = re.compile(r"n\d+-(.+)")
LISTS = {"train": "train_list.mat", "test": "test_list.mat"}
ADJECTIVES = {"train": "training ", "test": "test ", "": ""}
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Found:
    images: Path
    annotations: Path | None
    lists: dict[str, Path]  # split to its list; those that are there


class StanfordDogs(StreamDataModule):
    """20,580 photos of dogs of 120 breeds, with boxes; 100 training images per class in the official split.

    A. Khosla, N. Jayadevaprakash, B. Yao, L. Fei-Fei: Novel Dataset for Fine-Grained Image Categorization, 1st Workshop
    on Fine-Grained Visual Categorization, CVPR 2011. Two layouts are read: the authors' (``Images/``, ``Annotation/``
    and ``lists/{train,test}_list.mat``, or the lists beside the folders) with the official split, and Kaggle's
    (``images/Images/``, ``annotations/Annotation/``) without lists, for which a test set is split off by
    ``test_fraction``. Classes are in the order of the folders' numbers, as in the official labels; the name of a class
    is the text after the first "-" of its folder. If an image contains several dogs, the largest box is used, within
    the image size of the annotation if given. Coordinates are used as in the file: from 0, with the right and lower
    edge exclusive.

    The images are from ImageNet: a backbone that was trained on it has very likely seen test images.

    Args:
        root: The folder of either layout.
        crop_to_box: Crop images to the box of the dog.
        context: Share of its sides by which a box is enlarged in total.
        options: See ``StreamDataModule``.
    """

    NUM_CLASSES: ClassVar[int] = 120
    NUM_IMAGES: ClassVar[dict[str, int]] = {"train": 12000, "test": 8580}
    LAYOUTS: ClassVar[tuple[str, ...]] = (
        "<root>/Images/n<number>-<breed>/*.jpg, <root>/Annotation/n<number>-<breed>/* and "
        "<root>/lists/{train_list,test_list}.mat (official split)",
        "<root>/images/Images/n<number>-<breed>/*.jpg and <root>/annotations/Annotation/n<number>-<breed>/* (Kaggle)",
    )
    SOURCE: ClassVar[str] = (
        "http://vision.stanford.edu/aditya86/ImageNetDogs/ (images.tar, annotation.tar, lists.tar) or "
        "https://www.kaggle.com/datasets/jessicali9530/stanford-dogs-dataset (without lists)"
    )
    PAPER: ClassVar[str] = "A. Khosla et al., Novel Dataset for Fine-Grained Image Categorization, FGVC 2011"
    LICENCE: ClassVar[str] = "that of ImageNet: non-commercial research"

    def __init__(self, root: str | Path, crop_to_box: bool = False, context: float = 0.0, **options: Any) -> None:
        self.crop_to_box = crop_to_box
        self.context = self.box_context = context
        super().__init__(root, **options)

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """Class by class, in natural order of file names; annotations are read only if boxes are asked for."""
        found = _find(self.root)
        if found is None:
            raise missing_layout(
                self.root, "Stanford Dogs", self.LAYOUTS, self.SOURCE, lambda place: bool(_find(place))
            )
        self.findings.remark(
            "Stanford Dogs consists of ImageNet images. A backbone pretrained on ImageNet has very likely seen test "
            "images, so its accuracy is less informative than on other data."
        )
        folders = []
        for name in sub_folders(found.images):
            if CLASS_FOLDER.fullmatch(name):
                folders.append(name)
            else:
                self.findings.remark(f"The folder '{name}' was skipped, because its name is not n<number>-<breed>.")
        prefix = found.images.relative_to(self.root).as_posix()
        rows = [
            (f"{folder}/{name}", label)
            for label, folder in enumerate(folders)
            for name in images_in(found.images / folder, f"{prefix}/{folder}", self.findings)
        ]
        samples = pd.DataFrame(rows, columns=["path", "label"]).astype({"label": "int64"})
        samples["split"] = ""
        if len(found.lists) == 1:
            (there,) = found.lists.values()
            raise DataError(
                f"{there} exists but {listed(name for name in LISTS.values() if name != there.name)} does not: the "
                f"official split needs both, in {self.root} or its folder lists. Download lists.tar from "
                f"{self.SOURCE}, or remove the other list to split off a test set by data.test_fraction."
            )
        if found.lists:
            samples = self._split_by_lists(samples, found, prefix)
        else:
            self.findings.remark(
                "train_list.mat and test_list.mat are missing. The test set is split off from all images and is not "
                "the official one."
            )
        if self.crop_to_box or self.annotations:
            samples = self._add_boxes(samples, found.annotations, prefix)
        self._compare_counts(samples, folders)
        samples["path"] = prefix + "/" + samples["path"]
        return samples.reset_index(drop=True), [folder.partition("-")[2] for folder in folders]

    def _split_by_lists(self, samples: pd.DataFrame, found: _Found, prefix: str) -> pd.DataFrame:
        tables = []
        for split, file in found.lists.items():
            table = read_mat_columns(file, {"file_list": "path", "labels": "class"})
            table = table.texts(["path"], self.findings).whole_numbers(["class"], self.findings)
            table = table.once("path", self.findings)
            tables.append(table.rows.assign(split=split, place=[table.place(at) for at in table.rows.index]))
        rows = pd.concat(tables, ignore_index=True)
        for row in rows[rows["path"].duplicated()].itertuples():
            self.findings.problem(f"{row.place}: {row.path} is also in the training list")
        rows = rows.drop_duplicates("path")
        self._check_classes(rows)
        for path in rows.loc[~rows["path"].isin(samples["path"]), "path"]:
            self.findings.bad(f"{prefix}/{path}", "file not found")
        split_of = samples["path"].map(rows.set_index("path")["split"])
        for path in samples.loc[split_of.isna(), "path"]:
            self.findings.skip(f"{prefix}/{path}", "in neither list")
        return samples.assign(split=split_of)[split_of.notna()].reset_index(drop=True)

    def _check_classes(self, rows: pd.DataFrame) -> None:
        """The lists' numbers and the folders must name the same classes."""
        for number, place in rows.loc[~rows["class"].between(1, self.NUM_CLASSES), ["class", "place"]].itertuples(
            index=False
        ):
            self.findings.problem(f"{place}: class {number}; classes count from 1 to {self.NUM_CLASSES}")
        pairs = rows.assign(folder=rows["path"].str.partition("/")[0]).drop_duplicates(["folder", "class"])
        for column, other in (("folder", "class"), ("class", "folder")):
            for value, several in pairs[pairs[column].duplicated(keep=False)].groupby(column):
                self.findings.problem(
                    f"{several['place'].iloc[-1]}: the {column} {value} has more than one {other} in the lists: "
                    f"{listed(several[other])}"
                )

    def _add_boxes(self, samples: pd.DataFrame, annotations: Path | None, prefix: str) -> pd.DataFrame:
        if annotations is None:
            raise DataError(
                f"data.{'crop_to_box' if self.crop_to_box else 'annotations'} needs boxes, and {self.root} contains "
                f"neither Annotation/ nor annotations/Annotation/. Download annotation.tar from {self.SOURCE}."
            )
        boxes: list[Box | None] = []
        usable: list[bool] = []
        for path in samples["path"]:
            box, reason = None, ""
            try:
                box = largest_box((annotations / path).with_suffix("").read_bytes())
            except FileNotFoundError:
                reason = "no annotation file" if self.crop_to_box else ""
            except OSError as error:
                reason = f"its annotation cannot be read: {error.strerror}"
            except ValueError as error:
                reason = str(error)
            boxes.append(box)
            usable.append(not reason)
            if reason:
                self.findings.bad(f"{prefix}/{path}", reason)
        if without := sum(box is None for box, fine in zip(boxes, usable, strict=True) if fine):
            self.findings.remark(f"{plural(without, 'image')} without an annotation file.")
        return samples.assign(box_xyxy=pd.Series(boxes, index=samples.index, dtype="object"))[usable]

    def _compare_counts(self, samples: pd.DataFrame, folders: list[str]) -> None:
        expected = self.NUM_IMAGES if samples["split"].ne("").any() else {"": sum(self.NUM_IMAGES.values())}
        counts = {split: int((samples["split"] == split).sum()) for split in expected}
        if counts != expected or len(folders) != self.NUM_CLASSES:
            told = [
                " and ".join(f"{count:,} {ADJECTIVES[split]}images" for split, count in of.items())
                for of in (expected, counts)
            ]
            self.findings.remark(
                f"Stanford Dogs has {told[0]} of {self.NUM_CLASSES} breeds; found {told[1]} of {len(folders)}."
            )
        if absent := [name for label, name in enumerate(folders) if not (samples["label"] == label).any()]:
            self.findings.remark(f"Classes without an image: {listed(absent, 5)}.")


def largest_box(annotation: bytes) -> Box:
    """The largest box of a VOC-like annotation: x1, y1, x2, y2, within the image where the file gives its size.

    Raises:
        ValueError: It has none, or is not what it should be; the text is a reason that files can be counted by.
    """
    try:
        root = ElementTree.fromstring(annotation, ElementTree.XMLParser(target=_WithoutDoctype()))
        width, height = (float(root.findtext(f"size/{side}") or 0) for side in ("width", "height"))
        corners = [
            [float(box.findtext(name) or "nan") for name in ("xmin", "ymin", "xmax", "ymax")]
            for box in root.findall("object/bndbox")
        ]
    except ElementTree.ParseError as error:
        raise ValueError("its annotation is not XML") from error
    except _DoctypeError as error:
        raise ValueError("its annotation has a DOCTYPE, which is refused") from error
    except ValueError as error:
        raise ValueError("its annotation has a box or size that is not a number") from error
    if not corners:
        raise ValueError("its annotation has no box")
    boxes = [
        (
            max(x1, 0.0),
            max(y1, 0.0),
            min(x2, width or x2),
            min(y2, height or y2),
        )  # a size of 0 is one that is not known
        for x1, y1, x2, y2 in corners
    ]
    best = max(boxes, key=_area)
    if not _area(best) > 0:
        raise ValueError("its box has no area")
    return best


def _area(box: Box) -> float:
    """0 for a box that is none."""
    x1, y1, x2, y2 = box
    return (x2 - x1) * (y2 - y1) if x2 > x1 and y2 > y1 and all(map(math.isfinite, box)) else 0.0


class _DoctypeError(Exception):
    """Entities that a DOCTYPE declares can make a small file fill the memory."""


class _WithoutDoctype(ElementTree.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise _DoctypeError


def _find(root: Path) -> _Found | None:
    """The folders of either layout, from root; None if there are no images."""
    images = _first_with_classes(root, ("Images", "images/Images", "Images/Images", "images"))
    if images is None:
        return None
    annotations = _first_with_classes(
        root, ("Annotation", "annotations/Annotation", "Annotation/Annotation", "annotations")
    )
    places = (root / "lists", root)
    found = {split: next((p / n for p in places if (p / n).is_file()), None) for split, n in LISTS.items()}
    return _Found(images, annotations, {split: file for split, file in found.items() if file is not None})


def _first_with_classes(root: Path, names: tuple[str, ...]) -> Path | None:
    for name in names:
        if any(CLASS_FOLDER.fullmatch(folder) for folder in sub_folders(root / name)):
            return root / name
    return None
