"""CVAT for images 1.1: one XML file with an element for each image and its boxes, outlines and tags; or for video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from datamodules.documents import read_xml
from datamodules.folder_names import split_in_path
from datamodules.label_formats.cvat_shapes import OUTLINES, corners_of
from datamodules.label_formats.cvat_video import read_tracks
from datamodules.label_rows import LabelRows, check_box, make_rows, one_of_each
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError


def is_cvat(root: ElementTree.Element) -> bool:
    """Whether the root element of an XML file is that of a CVAT export."""
    return root.tag == "annotations" and (root.find("image") is not None or root.find("track") is not None)


def read_cvat(file: Path, folder: str, images: Sequence[str], problems: DataProblems) -> LabelRows:
    """Read a CVAT export: a row for each box, outline (a box around it is taken) and tag of an image.

    A tag labels the whole image. Points and lines are left out and counted. The subsets of the task are the split. Of an
    export for video, the frames that are images of the folder are read.

    Args:
        file: The file.
        folder: Its folder, from the data's root.
        images: The images, by path from the data's root.
        problems: Where problems go.

    Raises:
        DataError: It is not such a file, or of a video whose frames are not here.
    """
    root = read_xml(file)
    if root.tag != "annotations":
        raise DataError(f"{file} is not a CVAT file: its root is <{root.tag}>, expected <annotations>.")
    if root.find("track") is not None and root.find("image") is None:
        return read_tracks(root, file, folder, images, problems)
    elements = root.findall("image")
    subsets = [split_in_path(image.get("subset") or "") for image in elements]
    official = one_of_each(subsets)
    found: list[dict[str, Any]] = []
    for image, subset in zip(elements, subsets, strict=True):
        name = (image.get("name") or "").strip()
        if not name:
            problems.problem(f"{file.name}: the image with id {image.get('id')!r} has no name")
            continue
        rows = _shapes(image, name, file, problems) + _tags(image, name, file, problems)
        more = {"split": subset or ""} if official else {}
        found += [{**row, **more} for row in rows or [_row(name, None, file, 0)]]
    return LabelRows(make_rows(found, boxes=any("x1" in row for row in found)), "CVAT", "shape", file, folder)


def _row(name: str, label: str | None, file: Path, number: int) -> dict[str, Any]:
    return {"name": name, "label": label, "file": file.name, "number": number}


def _shapes(image: ElementTree.Element, name: str, file: Path, problems: DataProblems) -> list[dict[str, Any]]:
    rows = []
    for number, shape in enumerate(image, start=1):
        place = f"{file.name}: {name} shape {number}"
        if shape.tag == "tag":
            continue
        if shape.tag not in OUTLINES:
            problems.leave_out(f"shapes of kind {shape.tag}, which have no box, in {file.name}")
            continue
        label = (shape.get("label") or "").strip()
        corners = corners_of(shape)
        if not label:
            problems.problem(f"{place}: it has no label")
        elif check_box(corners, place, problems):
            rows.append(_row(name, label, file, number) | dict(zip(("x1", "y1", "x2", "y2"), corners, strict=True)))
    return rows


def _tags(image: ElementTree.Element, name: str, file: Path, problems: DataProblems) -> list[dict[str, Any]]:
    rows = []
    for number, tag in enumerate(image.findall("tag"), start=1):
        if label := (tag.get("label") or "").strip():
            rows.append(_row(name, label, file, number))
        else:
            problems.problem(f"{file.name}: {name} tag {number}: it has no label")
    return rows
