"""The column objects of Hugging Face's detection datasets: the class of each image, or of each box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from datamodules.label_formats.object_lists import BOX_KEYS, CATEGORY_KEYS, COLUMN, objects_of
from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import listed, natural_key, plural

Corners = tuple[float, float, float, float]


class BoxOfRow(NamedTuple):
    """An object."""

    row: int
    """Of the dataset."""
    box: Corners
    """x1, y1, x2, y2 in pixels."""
    label: str


def has_objects(features: Any) -> bool:
    """Whether a dataset has the column, with boxes and categories."""
    keys = set(_keys(features.get(COLUMN)))
    return bool(keys & set(BOX_KEYS)) and bool(keys & set(CATEGORY_KEYS))


def boxes_of_rows(place: str, values: Sequence[Any], feature: Any) -> tuple[list[BoxOfRow], list[str]]:
    """The objects of all rows that have a category, and all class names in order.

    Args:
        place: The dataset and its part, for messages.
        values: The column's value in each row.
        feature: What the library says of the column.

    Raises:
        DataError: A row is malformed.
    """
    known = _names(feature)
    found: list[BoxOfRow] = []
    for row, value in enumerate(values):
        try:
            objects = objects_of(value)
        except ValueError as error:
            raise DataError(f"{place}: {COLUMN} of row {row}: {error}.") from error
        for (x, y, width, height), category in objects:
            if known and isinstance(category, int) and category >= len(known):
                raise DataError(
                    f"{place}: {COLUMN} of row {row} has the category {category}; its {len(known)} classes are 0 to {len(known) - 1}."
                )
            if category is None or category == "" or (known and category == -1):
                continue
            found.append(BoxOfRow(row, (x, y, x + width, y + height), known[category] if known else str(category)))
    return found, list(known) or sorted({item.label for item in found}, key=natural_key)


def classes_of_images(place: str, boxes: Sequence[BoxOfRow], count: int) -> list[str | None]:
    """The class of each row, of which all boxes have it; None where there is none.

    Raises:
        DataError: Images have boxes of several classes.
    """
    labels: list[dict[str, None]] = [{} for _ in range(count)]
    for item in boxes:
        labels[item.row][item.label] = None
    if several := [row for row, names in enumerate(labels) if len(names) > 1]:
        raise DataError(
            f"{place}: {plural(len(several), 'image')} of {count} {'has' if len(several) == 1 else 'have'} boxes of several classes "
            f"(row {several[0]}: {listed(labels[several[0]], 4)}). A classifier of images needs one class an image. To learn "
            "from each box, set data.crop_to_boxes=true."
        )
    return [next(iter(names), None) for names in labels]


def _keys(feature: Any) -> list[str]:
    """The names of the lists in the column, in either form."""
    inner = getattr(feature, "feature", feature)
    inner = inner[0] if isinstance(inner, list) and inner else inner
    return list(inner) if isinstance(inner, Mapping) else []


def _names(feature: Any) -> Sequence[str]:
    """The class names that a nested description states; none if it states none."""
    if isinstance(names := getattr(feature, "names", None), list):
        return names
    below = feature.values() if isinstance(feature, Mapping) else feature if isinstance(feature, list) else ()
    inner = getattr(feature, "feature", None)
    return next((names for value in (*below, *(() if inner is None else (inner,))) if (names := _names(value))), [])
