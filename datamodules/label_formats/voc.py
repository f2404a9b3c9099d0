"""Pascal VOC: an XML file for each image, with the objects in it and their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd

from datamodules.documents import read_text, read_xml
from datamodules.label_rows import LabelRows, check_box, make_rows, one_of_each
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError

SIDES = ("xmin", "ymin", "xmax", "ymax")
SPLIT_LISTS = {"train.txt": "train", "val.txt": "val", "trainval.txt": "train", "test.txt": "test"}


def is_voc(root: ElementTree.Element) -> bool:
    """Whether the root element of an XML file is that of an image in this format."""
    return root.tag == "annotation" and (root.find("object") is not None or root.find("filename") is not None)


def read_voc(files: Sequence[Path], folder: Path, problems: DataProblems) -> LabelRows:
    """Read XML files: a row for each object, and one without label for an image without objects.

    Pixels count from 1 and both corners are included, as the authors of VOC define it. Files of tools that count from
    0 are recognised by a corner at 0. The lists in ``ImageSets/Main`` give the split.

    Args:
        files: The files.
        folder: The data's root.
        problems: Where problems go.
    """
    found: list[dict[str, Any]] = []
    others: list[str] = []
    for file in files:
        rows = _read(file, problems)
        found += rows
        above = file.parent.relative_to(folder).as_posix() if file.is_relative_to(folder) else "."
        others += [file.stem if above == "." else f"{above}/{file.stem}"] * len(rows)
    if any(row["x1"] < 1 or row["y1"] < 1 for row in found if row["label"] is not None):
        problems.remark(
            f"Boxes of {folder} start at pixel 0: they are read as counted from 0, not from 1 as in Pascal VOC."
        )
    else:
        for row in [row for row in found if row["label"] is not None]:
            row["x1"], row["y1"] = row["x1"] - 1, row["y1"] - 1
    keep = []
    for number, row in enumerate(found):
        place = f"{row['file']} object {row['number']}"
        corners = [row[name] for name in ("x1", "y1", "x2", "y2")]
        if row["label"] is None or check_box(corners, place, problems):
            keep.append(number)
    table = make_rows([found[number] for number in keep], boxes=True)
    names = pd.Series([others[number] for number in keep], index=table.index, dtype="str")
    if splits := _read_split_lists(folder, problems):
        table["split"] = [splits.get(name.rpartition("/")[2], "") for name in names]
        if (without := int((table["split"] == "").sum())) > 0:
            problems.remark(f"{folder}: {without} objects are of images in no list of ImageSets/Main, and not used.")
            in_list = table["split"] != ""
            table, names = table[in_list], names[in_list]
    return LabelRows(table, "Pascal VOC", "object", folder, "", names)


def _read(file: Path, problems: DataProblems) -> list[dict[str, Any]]:
    root = read_xml(file)
    if root.tag != "annotation":
        raise DataError(f"{file} is not a Pascal VOC file: its root is <{root.tag}>, expected <annotation>.")
    name = (root.findtext("filename") or "").strip() or file.stem
    objects = root.findall("object")
    if not objects:
        return [{"name": name, "label": None, "file": file.name, "number": 0} | dict.fromkeys(("x1", "y1", "x2", "y2"))]
    rows: list[dict[str, Any]] = []
    for number, item in enumerate(objects, start=1):
        place = f"{file.name} object {number}"
        label, box = (item.findtext("name") or "").strip(), item.find("bndbox")
        if not label:
            problems.problem(f"{place}: it has no <name>")
            continue
        if box is None:
            problems.problem(f"{place}: it has no <bndbox>")
            continue
        try:
            corners = [float(box.findtext(side) or "") for side in SIDES]
        except ValueError:
            told = ", ".join(f"{side} {box.findtext(side)!r}" for side in SIDES)
            problems.problem(f"{place}: expected four numbers, found {told}")
            continue
        sides = dict(zip(("x1", "y1", "x2", "y2"), corners, strict=True))
        rows.append({"name": name, "label": label, "file": file.name, "number": number, **sides})
    return rows


def _read_split_lists(folder: Path, problems: DataProblems) -> dict[str, str]:
    """The split of each stem by the lists beside the annotations; empty if there is no official split."""
    for place in (folder / "ImageSets" / "Main", *sorted(folder.glob("*/ImageSets/Main"))):
        lists = {name: place / name for name in SPLIT_LISTS if (place / name).is_file()}
        if "train.txt" in lists and "val.txt" in lists:
            lists.pop("trainval.txt", None)
        if not one_of_each([SPLIT_LISTS[name] for name in lists]):
            continue
        splits: dict[str, str] = {}
        for name, file in lists.items():
            for stem in read_text(file).split("\n"):
                words = stem.split()
                if words and splits.setdefault(words[0], SPLIT_LISTS[name]) != SPLIT_LISTS[name]:
                    problems.problem(f"{file}: {words[0]!r} is in the list of another split too")
        return splits
    return {}
