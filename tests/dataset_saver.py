"""Saves small datasets as the library ``datasets`` does."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from torchvision_maker import drawn

CLASSES = ("cat", "ant")
"""Not in the order of the alphabet."""


def stored(label: int, number: int) -> bytes:
    """A PNG file."""
    target = io.BytesIO()
    Image.fromarray(drawn(label, number, 24)).save(target, format="PNG")
    return target.getvalue()


def rows_of(count: int, start: int = 0) -> dict[str, list[Any]]:
    """Images of two classes in turn, each of its own content."""
    labels = [row % 2 for row in range(count)]
    return {
        "image": [{"bytes": stored(label, start + row), "path": None} for row, label in enumerate(labels)],
        "label": labels,
        "camera": [f"camera {row // 2 % 2}" for row in range(count)],
        "objects": [
            {"bbox": [[2, 4, 10, 12], [6, 0, 8, 16]], "category": [label, label], "area": [120, 128]}
            for label in labels
        ],
    }


def objects_feature(of_objects: bool = False) -> Any:
    """The column of boxes as lists in an object, or as a list of objects."""
    from datasets import ClassLabel, List, Value

    box, category, area = List(Value("float32"), length=4), ClassLabel(names=list(CLASSES)), Value("int64")
    if of_objects:
        return List({"bbox": box, "category": category, "area": area})
    return {"bbox": List(box), "category": List(category), "area": List(area)}


def features(**changed: Any) -> Any:
    from datasets import ClassLabel, Features, Value
    from datasets import Image as ImageFeature

    given = {"image": ImageFeature(), "label": ClassLabel(names=list(CLASSES)), "camera": Value("string")}
    return Features({name: feature for name, feature in {**given, **changed}.items() if feature is not None})


def made(rows: dict[str, list[Any]], **changed: Any) -> Any:
    """A ``Dataset``; features may be changed, or left out as None."""
    from datasets import Dataset

    kinds = features(**changed)
    return Dataset.from_dict({name: rows[name] for name in kinds}, features=kinds)


def save_dataset(folder: Path, parts: Mapping[str, int], start: int = 0, **changed: Any) -> Path:
    """Write the parts with so many images each, as ``DatasetDict.save_to_disk`` does."""
    from datasets import DatasetDict

    begin, found = start, {}
    for name, count in parts.items():
        found[name] = made(rows_of(count, begin), **changed)
        begin += 1000
    DatasetDict(found).save_to_disk(str(folder))
    return folder
