"""Rows of labels as files state them, before the names in them are matched with images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lightning_vision.data.data_problems import DataProblems

CORNERS = ("x1", "y1", "x2", "y2")
"""Columns of a box in pixels from the upper left corner, x2 and y2 excluded; NaN in rows of whole images."""


@dataclass(frozen=True)
class LabelRows:
    """Rows of one or several files of a format.

    Attributes:
        rows: ``name`` (of the image, as the file states it) and ``label`` (text; missing if there is none), and where
            known ``split``, ``group``, ``domain``, ``CORNERS`` and any others. ``file`` and ``number`` say where a row stands.
        format: What the files are, for messages: ``COCO``, ``table``.
        unit: What ``number`` counts: line, row, annotation.
        file: The file, or the folder of the files.
        folder: Where names start: a folder, by its path from the data's root; empty for the root.
        other_names: Another name of the image of each row, tried if there is no image of the first.
    """

    rows: pd.DataFrame
    format: str
    unit: str
    file: Path
    folder: str = ""
    other_names: pd.Series[Any] | None = None

    def place(self, at: Any) -> str:
        """Where a row stands, for a message: ``train.csv line 7``."""
        return f"{self.rows['file'].loc[at]} {self.unit} {self.rows['number'].loc[at]}"

    def take(self, good: pd.Series[bool]) -> LabelRows:
        """The rows that are marked."""
        others = None if self.other_names is None else self.other_names[good]
        return LabelRows(self.rows[good], self.format, self.unit, self.file, self.folder, others)

    def with_rows(self, rows: pd.DataFrame) -> LabelRows:
        """Other columns of the same rows."""
        return LabelRows(rows, self.format, self.unit, self.file, self.folder, self.other_names)

    @property
    def has_boxes(self) -> bool:
        """Whether a row has a box."""
        return "x1" in self.rows and bool(self.rows["x1"].notna().any())


def make_rows(found: Sequence[Mapping[str, Any]], boxes: bool = False) -> pd.DataFrame:
    """A table of rows that were collected one by one.

    Args:
        found: A mapping of columns for each row, with ``file`` and ``number``.
        boxes: The rows have boxes, even if there is none.
    """
    columns = ["name", "label", "file", "number", *(CORNERS if boxes else ())]
    rows = pd.DataFrame(list(found)) if found else pd.DataFrame(columns=columns)
    for column in CORNERS:
        if column in rows or boxes:
            rows[column] = pd.to_numeric(rows[column]).astype("float64") if column in rows else np.nan
    return rows.astype({"name": "str", "label": "str", "file": "category", "number": "int64"})


def one_of_each(values: Sequence[str | None]) -> bool:
    """Whether names of splits are an official split: training data and another part."""
    return "train" in values and len(set(values) - {None}) > 1


def check_box(box: Sequence[float], place: str, problems: DataProblems) -> bool:
    """Whether corners are four numbers that enclose pixels; otherwise the problem is added."""
    if len(box) != 4 or not np.isfinite(box).all():
        problems.problem(f"{place}: expected a box of four numbers, found {_shown(box)}")
        return False
    if box[2] <= box[0] or box[3] <= box[1]:
        problems.bad(place, f"the box has no pixels ({box[2] - box[0]:g} wide and {box[3] - box[1]:g} high)")
        return False
    return True


def _shown(value: object) -> str:
    return repr(value)[:80]
