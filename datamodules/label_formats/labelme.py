"""labelme: a JSON file for each image, beside it, with its shapes and flags. X-AnyLabeling writes the same form."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from datamodules.documents import read_json
from datamodules.label_rows import LabelRows, check_box, make_rows
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError
from lightning_vision.images.decoding import read_header
from lightning_vision.terminal.wording import listed

OUTLINES = ("polygon", "rectangle", "rotation", "mask")
"""Kinds of shapes that lie within the box around their points."""
CIRCLE = "circle"
"""Its points are the centre and one on the edge."""


def is_labelme(document: Any) -> bool:
    """Whether a JSON document is a file of labelme."""
    return isinstance(document, dict) and "imagePath" in document and "shapes" in document


def read_labelme(files: Sequence[Path], root: Path, images: Collection[str], problems: DataProblems) -> LabelRows:
    """Read files of labelme: a row for each shape, with the box around it, and for each flag that is set.

    A flag labels the whole image. Points and lines are left out and counted. An image without shapes and flags has no
    label.

    Args:
        files: The files.
        root: The data's root.
        images: The images, by path from it.
        problems: Where problems go.

    Raises:
        DataError: A file is not labelme's.
    """
    found: list[dict[str, Any]] = []
    others: list[str] = []
    for file in files:
        document = read_json(file)
        if not is_labelme(document):
            has = listed(document) if isinstance(document, dict) else f"a {type(document).__name__}"
            raise DataError(f"{file} is not a file of labelme: expected 'imagePath' and 'shapes', found {has}.")
        above = file.parent.relative_to(root).as_posix() if file.is_relative_to(root) else "."
        beside = posixpath.normpath(posixpath.join(above, file.stem))
        name = _image_of(document["imagePath"], above) or beside
        rows = [
            {"name": name, "file": file.name, "number": 0, **row}
            for row in [*_flags(document, file, problems), *_shapes(document, file, problems)]
        ]
        if any("x1" in row for row in rows) and name in images:
            _check_size(document, file, root / name, problems)
        found += rows or [{"name": name, "label": None, "file": file.name, "number": 0}]
        others += [beside] * max(1, len(rows))
    table = make_rows(found, boxes=any("x1" in row for row in found))
    return LabelRows(table, "labelme", "shape", root, "", pd.Series(others, index=table.index, dtype="str"))


def _image_of(path: object, above: str) -> str:
    """The image's path from the root, of its path from the folder of the file; empty if there is none."""
    if not isinstance(path, str) or not path.strip():
        return ""
    joined = posixpath.normpath(posixpath.join(above, path.strip().replace("\\", "/")))
    return joined.removeprefix("../").rpartition("/")[2] if joined.startswith("../") else joined


def _flags(document: dict[str, Any], file: Path, problems: DataProblems) -> list[dict[str, Any]]:
    flags = document.get("flags") or {}
    if not isinstance(flags, dict) or not all(isinstance(value, bool | None) for value in flags.values()):
        problems.problem(f"{file.name}: expected flags of true or false, found {flags!r:.60}")
        return []
    return [{"label": str(name)} for name, value in flags.items() if value]


def _shapes(document: dict[str, Any], file: Path, problems: DataProblems) -> list[dict[str, Any]]:
    shapes = document["shapes"]
    if not isinstance(shapes, list):
        problems.problem(f"{file.name}: expected a list of shapes, found {shapes!r:.60}")
        return []
    rows: list[dict[str, Any]] = []
    for number, shape in enumerate(shapes, start=1):
        place = f"{file.name} shape {number}"
        if not isinstance(shape, dict):
            problems.problem(f"{place}: expected an object, found {shape!r:.60}")
            continue
        kind, label = shape.get("shape_type") or "polygon", shape.get("label")
        if kind not in (*OUTLINES, CIRCLE):
            problems.leave_out(f"shapes of kind {kind}, which have no box")
            continue
        if not isinstance(label, str) or not label.strip():
            problems.problem(f"{place}: it has no label")
            continue
        corners = _corners(shape.get("points"), kind)
        if check_box(corners, place, problems):
            sides = dict(zip(("x1", "y1", "x2", "y2"), corners, strict=True))
            rows.append({"label": label.strip(), "number": number, **sides})
    return rows


def _corners(points: object, kind: str) -> list[float]:
    """The box around a shape; nothing if its points are none."""
    try:
        xs, ys = zip(*((float(x), float(y)) for x, y in points), strict=True)  # type: ignore[attr-defined]
        if kind == CIRCLE:
            (x, edge_x), (y, edge_y) = xs, ys
            radius = math.hypot(edge_x - x, edge_y - y)
            return [x - radius, y - radius, x + radius, y + radius]
    except (TypeError, ValueError):
        return []
    return [min(xs), min(ys), max(xs), max(ys)]


def _check_size(document: dict[str, Any], file: Path, image: Path, problems: DataProblems) -> None:
    """Refuse shapes that were drawn on an image of another size: they would lie elsewhere."""
    stated = (document.get("imageHeight"), document.get("imageWidth"))
    if stated == (None, None):
        return
    try:
        height, width = read_header(image).size
    except DataError:
        return  # the inspection of the images reports it
    if stated != (height, width):
        problems.problem(
            f"{file.name}: its shapes were drawn on an image of {stated[1]} x {stated[0]} pixels, and {image.name} has "
            f"{width} x {height}; label the image as it is"
        )
