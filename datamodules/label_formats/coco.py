"""COCO: one JSON file with the lists images, annotations and categories."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from datamodules.documents import read_json
from datamodules.label_rows import LabelRows, check_box, make_rows
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import listed

LISTS = ("images", "annotations", "categories")


def is_coco(document: Any, whole: bool = False) -> bool:
    """Whether a JSON document has most of COCO's lists, or, as ``whole`` asks, all: captions have no categories."""
    least = len(LISTS) if whole else len(LISTS) - 1
    return isinstance(document, dict) and sum(isinstance(document.get(name), list) for name in LISTS) >= least


def read_coco(file: Path, folder: str, problems: DataProblems, document: Any = None) -> LabelRows:
    """Read a COCO file: one row an annotation, with its box if it has one, and a row without label for other images.

    ``bbox`` is x, y, width and height in pixels. Crowds (``iscrowd``) are left out and counted. Annotations without a
    box label whole images, as in iNaturalist.

    Args:
        file: The file.
        folder: Its folder, from the data's root.
        problems: Where problems go.
        document: Its content, if it has been read.

    Raises:
        DataError: It is not a COCO file.
    """
    document = read_json(file) if document is None else document
    if not isinstance(document, dict) or not all(isinstance(document.get(name), list) for name in LISTS):
        has = listed(document) if isinstance(document, dict) else f"a {type(document).__name__}"
        raise DataError(f"{file} is not a COCO file: expected the lists {listed(LISTS)}, found {has}.")
    images = _by_id(document["images"], "images", "file_name", file, problems)
    categories = _by_id(document["categories"], "categories", "name", file, problems)
    for name, count in Counter(categories.values()).items():
        if count > 1:
            problems.problem(f"{file.name}: {count} categories are called {name!r}; they must differ")
    rows: list[dict[str, Any]] = []
    named = set()
    for number, annotation in enumerate(document["annotations"], start=1):
        place = f"{file.name} annotation {number}"
        if not isinstance(annotation, dict):
            problems.problem(f"{place}: expected an object, found {annotation!r:.60}")
            continue
        image, category = annotation.get("image_id"), annotation.get("category_id")
        if not _known(image, images):
            problems.problem(f"{place}: image_id {image!r:.60} is not in the list images")
            continue
        if not _known(category, categories):
            problems.problem(f"{place}: category_id {category!r:.60} is not in the list categories")
            continue
        named.add(image)
        if annotation.get("iscrowd"):
            problems.leave_out(f"crowds (iscrowd) in {file.name}")
            continue
        row = {"name": images[image], "label": categories[category], "file": file.name, "number": number}
        if (box := annotation.get("bbox")) not in (None, []):
            corners = _corners(box)
            if not check_box(corners, place, problems):
                continue
            row |= dict(zip(("x1", "y1", "x2", "y2"), corners, strict=True))
        rows.append(row)
    without = [name for identifier, name in images.items() if identifier not in named]
    rows += [{"name": name, "label": None, "file": file.name, "number": 0} for name in without]
    unused = sorted(set(categories.values()) - {row["label"] for row in rows})
    if unused:
        problems.remark(f"{file.name}: no image has an annotation of {listed(unused, 5)}.")
    return LabelRows(make_rows(rows, boxes=any("x1" in row for row in rows)), "COCO", "annotation", file, folder)


def _by_id(items: list[Any], what: str, key: str, file: Path, problems: DataProblems) -> dict[Any, str]:
    found: dict[Any, str] = {}
    for number, item in enumerate(items, start=1):
        place = f"{file.name}: number {number} of {what}"
        if not isinstance(item, dict) or not isinstance(item.get("id"), int | str) or not _is_text(item.get(key)):
            problems.problem(f"{place}: expected an object with 'id' and the text '{key}', found {item!r:.80}")
        elif item["id"] in found:
            problems.problem(f"{place}: the id {item['id']!r} is already taken")
        else:
            found[item["id"]] = item[key]
    return found


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""


def _known(identifier: object, table: dict[Any, str]) -> bool:
    return isinstance(identifier, int | str) and identifier in table


def _corners(box: Any) -> list[float]:
    """The corners of x, y, width and height; nothing if these are no four numbers."""
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(side, int | float) for side in box):
        return []
    x, y, width, height = (float(side) for side in box)
    return [x, y, x + width, y + height]
