"""The column objects of Hugging Face: in each row the boxes of all objects of an image, and their categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from datamodules.annotation_tables import Table
from lightning_vision.data.data_problems import DataProblems

COLUMN = "objects"
BOX_KEYS = ("bbox", "bboxes", "boxes")
CATEGORY_KEYS = ("category", "categories", "category_id", "label", "labels", "class", "classes")
CATEGORY = "objects.category"
"""The column of the categories in a table of one row an object."""
SIDES = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")


def objects_of(value: Any) -> list[tuple[list[float], Any]]:
    """The boxes (x, y, width, height) and categories of a row.

    Args:
        value: Two lists in an object, a list of objects, or nothing.

    Raises:
        ValueError: What was expected and found.
    """
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return []
    if isinstance(value, Sequence) and not isinstance(value, str):
        pairs = [_pair(item, value) for item in value]
    else:
        boxes, categories = _pair(value, value)
        if not isinstance(boxes, Sequence) or not isinstance(categories, Sequence) or len(boxes) != len(categories):
            raise ValueError(f"expected as many boxes as categories, found {value!r:.80}")
        pairs = list(zip(boxes, categories, strict=True))
    found = []
    for box, category in pairs:
        try:
            sides = [float(side) for side in box]
        except (TypeError, ValueError):
            sides = []
        if len(sides) != 4 or not np.isfinite(sides).all():
            raise ValueError(f"expected boxes of four numbers x, y, width and height, found {box!r:.80}")
        if min(sides[2:]) <= 0:
            raise ValueError(f"the box has no pixels ({sides[2]:g} wide and {sides[3]:g} high)")
        if isinstance(category, list | dict):
            raise ValueError(f"expected a category for each box, found {category!r:.80}")
        found.append((sides, category))
    return found


def has_objects(column: pd.Series[Any]) -> bool:
    """Whether the values of a column are such objects, or lists of them."""
    given = [value for value in column if isinstance(value, list | dict) and value]
    first = given[0] if given else None
    first = first[0] if isinstance(first, list) else first
    return isinstance(first, Mapping) and any(key in first for key in BOX_KEYS)


def with_category_names(rows: Sequence[Any], feature: Any) -> list[Any]:
    """Rows of objects whose categories have names instead of numbers, where Hugging Face's datasets state them.

    Args:
        rows: The objects of each row, in either form.
        feature: What the library says of the column; anything else changes nothing.
    """
    names = _names_in(feature)
    return [_renamed(value, dict(enumerate(names))) for value in rows] if names else list(rows)


def _names_in(feature: Any) -> list[str]:
    """The first list of class names in a nested description."""
    if not isinstance(feature, Mapping | list):
        return []
    if isinstance(feature, Mapping) and isinstance(feature.get("names"), list):
        return [str(name) for name in feature["names"]]
    below = feature.values() if isinstance(feature, Mapping) else feature
    return next((names for value in below if (names := _names_in(value))), [])


def _renamed(value: Any, names: Mapping[int, str]) -> Any:
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    key = next((key for key in CATEGORY_KEYS if key in value), None) if isinstance(value, Mapping) else None
    if key is None:
        return value
    given = value[key]
    named = [names.get(item, item) for item in given] if isinstance(given, list) else names.get(given, given)
    return {**value, key: named}


def one_row_each(table: Table, problems: DataProblems) -> Table:
    """A table with a row for each object, and one without a category for an image without objects.

    Args:
        table: With the column ``objects``.
        problems: Where rows go that cannot be read.
    """
    places: list[int] = []
    boxes: list[list[float]] = []
    categories: list[Any] = []
    for place, (at, value) in enumerate(table.rows[COLUMN].items()):
        found: list[tuple[list[float], Any]] = []
        try:
            found = objects_of(value)
        except ValueError as error:
            problems.problem(f"{table.place(at)}: {COLUMN}: {error}")
        for box, category in found or [([np.nan] * 4, None)]:
            places.append(place)
            boxes.append(box)
            categories.append(category)
    rows = table.rows.drop(columns=[COLUMN, *(side for side in SIDES if side in table.rows)]).iloc[places]
    sides = pd.DataFrame(boxes, columns=list(SIDES), index=rows.index, dtype="float64")
    label = pd.Series([None if name is None else str(name) for name in categories], index=rows.index, dtype="str")
    return Table(table.file, pd.concat([rows, sides], axis=1).assign(**{CATEGORY: label}))


def _pair(item: Any, whole: Any) -> tuple[Any, Any]:
    keys = item if isinstance(item, Mapping) else {}
    box = next((key for key in BOX_KEYS if key in keys), None)
    category = next((key for key in CATEGORY_KEYS if key in keys), None)
    if box is None or category is None:
        raise ValueError(f"expected 'bbox' and 'category', found {whole!r:.80}")
    return item[box], item[category]
