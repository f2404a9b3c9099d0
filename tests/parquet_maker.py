"""Writes Parquet files that hold images, as Hugging Face's datasets and other programs do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataset_saver import stored

CLASSES = ("cat", "ant")
"""Not in the order of the alphabet."""


def columns_of(count: int, start: int = 0, binary: bool = False) -> dict[str, list[Any]]:
    """Images of two classes in turn, each of its own content."""
    images = [stored(row % 2, start + row) for row in range(count)]
    held = images if binary else [{"bytes": image, "path": f"{row}.png"} for row, image in enumerate(images)]
    return {
        "image": held,
        "label": [row % 2 for row in range(count)],
        "camera": [f"c{row // 2 % 2}" for row in range(count)],
    }


def write_parquet(
    file: Path,
    columns: Mapping[str, list[Any]],
    names: bool = True,
    features: Mapping[str, Any] | None = None,
    **options: Any,
) -> Path:
    """One file; names: it states the names of the classes, as Hugging Face's library writes them."""
    import pyarrow
    from pyarrow import parquet

    stated = {"label": {"names": list(CLASSES), "_type": "ClassLabel"}} if names else {}
    table = pyarrow.table(dict(columns)).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": {**stated, **(features or {})}}})}
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, file, **options)
    return file


def write_hub_folder(root: Path, start: int = 0) -> Path:
    """data/train-00000-of-00001.parquet and the same of test, as on the Hub."""
    for split, count in (("train", 12), ("test", 4)):
        write_parquet(root / "data" / f"{split}-00000-of-00001.parquet", columns_of(count, start), row_group_size=5)
        start += count
    return root
