"""The rows of a table whose columns are known: labels, splits, boxes and further columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from datamodules.annotation_tables import Table
from datamodules.folder_names import SPLIT_VALUES
from datamodules.label_rows import CORNERS, LabelRows
from datamodules.table_columns import FLAGS, SIZE_NAMES, SPLIT_FLAGS, Columns, texts_of
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.data.value_order import is_number_column
from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import listed, plural

MADE_HERE = (
    "path",
    "label",
    "split",
    "box_xyxy",
    "source",
    "role",
    "frame",
    "saliency",
    "name",
    "file",
    "number",
    *CORNERS,
)
"""Names that a further column of the table cannot keep, because the program fills columns of these names."""


def label_rows(table: Table, columns: Columns, folder: str, given: bool, problems: DataProblems) -> LabelRows:
    """The rows of a table, with the names that ``LabelRows`` gives its columns.

    Args:
        table: The table.
        columns: What its columns are.
        folder: Its folder, from the root.
        given: The user named the columns; otherwise those that were recognised are said.
        problems: Where problems go.
    """
    rows, file = table.rows, table.file
    made = pd.DataFrame({"name": texts_of(rows[columns.path]).fillna("")}, index=rows.index)
    made["label"] = _labels(table, columns, problems)
    made["file"] = pd.Series(file.name, index=rows.index, dtype="category")
    made["number"] = rows.index.to_numpy()
    if columns.split is not None:
        made["split"] = _splits(table, columns.split, problems)
    for name, column in (("group", columns.group), ("domain", columns.domain)):
        if column is not None:
            made[name] = typed(rows[column])
    if columns.corners or columns.sides:
        made = pd.concat([made, _boxes(table, columns, problems)], axis=1)  # rows of one line have its number in common
    used = {columns.path, columns.label, *columns.one_hot, columns.split, columns.group, columns.domain}
    used |= {*(columns.corners or ()), *(columns.sides or ())}
    taken = {*MADE_HERE, *made.columns}
    left_out = []
    for name in rows.columns.difference(list(used - {None}), sort=False):
        if columns.corners and str(name).lower() in SIZE_NAMES:
            continue  # of the image, beside the corners of boxes
        if str(name).lower() in taken or _has_lists(rows[name]):
            left_out.append(str(name))
        else:
            made[str(name)] = typed(rows[name])
    if left_out:
        problems.remark(
            f"{file.name}: the columns {listed(left_out)} are not used: they hold lists, or the program uses these names."
        )
    told = {"label": columns.label, "split": columns.split, "group": columns.group}
    said = [f"{role} from '{name}'" for role, name in told.items() if name is not None and name.lower() != role]
    if said and not given:
        problems.remark(f"{file.name}: image from '{columns.path}', {', '.join(said)} (data.label_columns).")
    empty = made["name"].str.strip() == ""
    for at in made.index[empty]:
        problems.problem(f"{table.place(at)}: {columns.path} is empty, expected the name of an image")
    made = made[~empty]
    return LabelRows(made.reset_index(drop=True), "table", str(rows.index.name), file, folder)


def typed(column: pd.Series[Any]) -> pd.Series[Any]:
    """Numbers where all that is not empty is a number (and no version or date), else text; what is empty is missing."""
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        return column
    text = texts_of(column)
    text = text.where(text != "")
    numbers = pd.to_numeric(text, errors="coerce")
    if (numbers.notna() == text.notna()).all() and is_number_column(str(column.name), text.dropna().unique().tolist()):
        return numbers
    return text


def _labels(table: Table, columns: Columns, problems: DataProblems) -> pd.Series[Any]:
    if columns.one_hot:
        return _of_one_hot(table, columns.one_hot, problems)
    column = table.rows[columns.label]
    if _has_lists(column):
        lists = column.map(lambda value: isinstance(value, list | dict)).astype(bool)
        for at, value in column[lists].items():
            if isinstance(value, dict) or len(value) != 1:
                problems.problem(f"{table.place(at)}: {columns.label} is {value!r:.60}, expected one label")
        column = column.where(~lists, column[lists].map(lambda value: next(iter(value), None)))
    if pd.api.types.is_float_dtype(column.dtype) and (column.dropna() != np.floor(column.dropna())).any():
        raise DataError(
            f"{table.file}: '{columns.label}' holds numbers such as {column.dropna().iloc[0]!r}: a quantity, not the name "
            "of a class. Name another column with data.label_columns={label: <column>}."
        )
    text = texts_of(column)
    return text.where(text != "")


def _has_lists(column: pd.Series[Any]) -> bool:
    """Whether a value is a list or a mapping, as JSON may have them."""
    return column.dtype == object and any(isinstance(value, list | dict) for value in column)


def _of_one_hot(table: Table, names: Sequence[str], problems: DataProblems) -> pd.Series[Any]:
    """The name of the one column that is 1 in each row; other rows are problems."""
    values = table.rows[list(names)].apply(lambda column: pd.to_numeric(column)).to_numpy()
    count = values.sum(axis=1)
    clean = [name.strip() for name in names]
    for at, row in zip(table.rows.index[count != 1], values[count != 1], strict=True):
        has = [name for name, value in zip(clean, row, strict=True) if value]
        said = f"several labels, {listed(has, 5)}" if has else "no label"
        problems.problem(f"{table.place(at)}: {said}; a classifier of one label an image needs exactly one")
    label = pd.Series([clean[place] for place in values.argmax(axis=1)], index=table.rows.index, dtype="str")
    return label.where(count == 1)


def _splits(table: Table, column: str, problems: DataProblems) -> pd.Series[str]:
    text = texts_of(table.rows[column]).fillna("").str.lower()
    if column.strip().lower() in SPLIT_FLAGS:
        meant = SPLIT_FLAGS[column.strip().lower()]
        return text.map({word: meant[flag] for word, flag in FLAGS.items()}).fillna("").astype("str")
    for at, value in text[~text.isin(list(SPLIT_VALUES))].items():
        problems.problem(f"{table.place(at)}: {column} is {value!r}, expected train, val, test or an empty field")
    return text.map(SPLIT_VALUES).fillna("").astype("str")


def _boxes(table: Table, columns: Columns, problems: DataProblems) -> pd.DataFrame:
    """Corners of the box of each row, NaN in rows that have none; boxes that are none are problems."""
    names = list(columns.corners or columns.sides or ())
    texts = table.rows[names].apply(texts_of).fillna("")
    numbers = texts.apply(lambda column: pd.to_numeric(column, errors="coerce")).astype("float64")
    finite = pd.Series(np.isfinite(numbers.to_numpy()).all(axis=1), index=numbers.index)
    wrong = (texts != "").any(axis=1) & ~finite
    for at, *found in texts[wrong].itertuples():
        problems.problem(
            f"{table.place(at)}: expected four numbers {', '.join(names)}, or none, found {', '.join(found)!r}"
        )
    corners = numbers.where(~wrong).to_numpy(dtype="float64", copy=True)  # (N, 4)
    if columns.sides:
        corners[:, 2:] += corners[:, :2]
    empty = pd.Series((corners[:, 2:] <= corners[:, :2]).any(axis=1), index=numbers.index)
    if empty.any():
        problems.problem(
            f"{table.file.name}: {plural(int(empty.sum()), 'row')} with a box without pixels, the first in {table.place(empty.idxmax())}"
        )
    return pd.DataFrame(corners, columns=list(CORNERS), index=numbers.index)
