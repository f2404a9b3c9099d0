"""Parquet files: their plain columns as a table, and the image files that a column may hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.annotation_tables import Table
from datamodules.label_formats.object_lists import COLUMN, with_category_names
from lightning_vision.errors import DataError

ROWS_AT_ONCE = 32
"""Images that are in memory while they are copied."""
NO_IMAGE = -1
"""The offset of a row without an image."""


class ParquetTable(NamedTuple):
    """What a Parquet file holds."""

    table: Table
    """Its plain columns, and ``objects`` of Hugging Face; classes have their names where the file states them."""
    image_columns: list[str]
    """Columns of image files: structs with ``bytes``, as Hugging Face writes them, or binary ones."""


def read_parquet(file: Path) -> ParquetTable:
    """The columns of a file without its images, which are not read.

    Raises:
        DataError: It cannot be read.
    """
    with _opened(file) as opened:
        import pyarrow

        try:
            schema = opened.schema_arrow
            images = [field.name for field in schema if _holds_images(pyarrow, field.type)]
            nested = [
                field.name for field in schema if pyarrow.types.is_nested(field.type) and field.name not in images
            ]
            plain = [field.name for field in schema if field.name not in (*images, *nested)]
            rows = opened.read(columns=plain).to_pandas(ignore_metadata=True)
            features = _features(schema.metadata or {})
            if COLUMN in nested:
                objects = opened.read(columns=[COLUMN]).column(COLUMN).to_pylist()
                rows[COLUMN] = pd.Series(with_category_names(objects, features.get(COLUMN)), dtype="object")
        except (pyarrow.ArrowException, OSError) as error:
            raise _unreadable(file, error) from error
    rows.index = pd.RangeIndex(1, len(rows) + 1, name="row")
    return ParquetTable(Table(file, _with_class_names(rows, features)), images)


def copy_images(file: Path, column: str, target: Path, advance: Callable[[], None]) -> npt.NDArray[np.int64]:
    """Copy the image files of a column into one file, a few rows at a time.

    Args:
        file: The Parquet file.
        column: One of ``image_columns``.
        target: The file that is written: the images one after another.
        advance: Called after each row.

    Returns:
        (N, 2) offset and size of each row's image; ``NO_IMAGE`` and 0 in rows without one.

    Raises:
        DataError: The Parquet file cannot be read.
        OSError: The target cannot be written.
    """
    places: list[tuple[int, int]] = []
    with _opened(file) as opened, target.open("wb") as images:
        offset = 0
        for group in range(opened.num_row_groups):  # a group at a time: what was read of others is let go
            batches = opened.iter_batches(batch_size=ROWS_AT_ONCE, row_groups=[group], columns=[column])
            while (content := _next(batches, file)) is not None:
                for value in content:
                    advance()
                    data = value.get("bytes") if isinstance(value, dict) else value
                    if not data:
                        places.append((NO_IMAGE, 0))
                        continue
                    images.write(data)
                    places.append((offset, len(data)))
                    offset += len(data)
    return np.array(places, dtype=np.int64).reshape(-1, 2)


def _next(batches: Iterator[Any], file: Path) -> list[Any] | None:
    """The values of the next rows; None behind the last."""
    import pyarrow

    try:
        batch = next(batches, None)
    except (pyarrow.ArrowException, OSError) as error:
        raise _unreadable(file, error) from error
    return None if batch is None else list(batch.column(0).to_pylist())


def _opened(file: Path) -> Any:
    try:
        import pyarrow.parquet  # an optional package, and only for these files
    except ImportError as error:
        raise DataError(
            f"{file} is a Parquet file, which needs the package pyarrow: pip install 'lightning_vision[parquet]', or "
            "save the table as CSV."
        ) from error
    try:
        return pyarrow.parquet.ParquetFile(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> DataError:
    return DataError(f"{file} cannot be read as Parquet: {' '.join(str(error).split())[:200]}.")


def _holds_images(pyarrow: Any, kind: Any) -> bool:
    if pyarrow.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))


def _features(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    """What Hugging Face's datasets wrote about the columns; empty if another program wrote the file."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    except (ValueError, AttributeError):
        return {}
    return features if isinstance(features, dict) else {}


def _with_class_names(rows: pd.DataFrame, features: dict[str, Any]) -> pd.DataFrame:
    """Names instead of the numbers of classes."""
    for name, feature in features.items():
        names = feature.get("names") if isinstance(feature, dict) else None
        if name in rows and isinstance(names, list) and pd.api.types.is_integer_dtype(rows[name].dtype):
            rows[name] = rows[name].map(dict(enumerate(names)))
    return rows
