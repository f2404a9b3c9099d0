"""Which columns of a table are the path, the label, the split, the group and the box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from datamodules.annotation_tables import Table
from datamodules.folder_names import SPLIT_VALUES
from datamodules.image_names import NOWHERE, ImageNames
from datamodules.label_formats.object_lists import CATEGORY
from datamodules.label_formats.table_file import is_image_name
from datamodules.label_rows import CORNERS
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.terminal.wording import listed, nearest_first

NAMES: Mapping[str, tuple[str, ...]] = {
    "path": (
        *("path", "file_path", "filepath", "filepaths", "image_path", "img_path", "relative_path", "file_name"),
        *("filename", "filenames", "file", "files", "fname", "image_file", "image_name", "img_name", "image", "images"),
        *("img", "image_id", "imageid", "img_id", "id_code", "isic_id", "photo", "photo_id", "picture", "file_id"),
        *("uuid", "key", "name", "id", "column 1"),
    ),
    "label": (
        *("label", "labels", "class", "classes", "class_name", "classname", "class_label", "category", "categories"),
        *("category_name", "label_name", "target", "diagnosis", "dx", "disease", "breed", "species", "variety"),
        *(
            "landmark_id",
            "emotion",
            "level",
            "ground_truth",
            "groundtruth",
            "gt",
            "class_id",
            "category_id",
            "label_id",
        ),
        *("labelnames", "tag", "tags", "finding labels", "choice", CATEGORY),
    ),
    "split": ("split", "subset", "partition", "phase", "usage", "set", "data set", "data_set", "dataset"),
    "group": (
        *("group", "group_id", "lesion_id", "patient_id", "patient", "patientid", "subject_id", "subject", "case_id"),
        *("sequence_id", "seq_id", "video_id", "session_id", "burst_id"),
    ),
    "domain": ("domain",),
}
"""The usual names of each column, the most telling first, in small letters."""
BOXES = (
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"),
    ("left", "top", "right", "bottom"),
)
SIDES = (
    ("x", "y", "w", "h"),
    ("x", "y", "width", "height"),
    ("left", "top", "width", "height"),
    ("bbox_x", "bbox_y", "bbox_w", "bbox_h"),
    ("bbox_x", "bbox_y", "bbox_width", "bbox_height"),
)
BOX_SIDES = ("x", "y", "w", "h")
SIZE_NAMES = ("width", "height", "image_width", "image_height", "img_width", "img_height")
NUMBERS = ("label_id", "class_id", "category_id", "class_index", "label_index", "target")
"""Columns that may number the classes that another column names."""
SPLIT_FLAGS = {
    **dict.fromkeys(("is_train", "is_training", "is_training_img", "is_training_image"), ("test", "train")),
    **dict.fromkeys(("is_test", "is_testing"), ("train", "test")),
}
"""Columns of 0 and 1 that give the split, and the split that each of the two values means."""
FLAGS = {"0": 0, "false": 0, "1": 1, "true": 1}
NO_LABELS = (
    *(
        "",
        "index",
        "unnamed: 0",
        "day",
        "date",
        "time",
        "timestamp",
        "datetime",
        "year",
        "month",
        "url",
        "source",
        "size",
    ),
    *("caption", "text", "description", "title", "license", "author"),
)
"""Names of columns that say something else of an image than its class."""
LOOKED_AT = 200
"""Values by which the column of names is recognised."""
TELLING = 0.5
"""Share of these that must lead to images."""


@dataclass(frozen=True)
class Columns:
    """The columns of a table by what they say; None where there is none."""

    path: str
    label: str | None
    one_hot: tuple[str, ...] = ()
    """Columns of 0 and 1, one a class, in place of a column of labels."""
    split: str | None = None
    group: str | None = None
    domain: str | None = None
    corners: tuple[str, ...] | None = None
    sides: tuple[str, ...] | None = None


def find_columns(
    table: Table, images: ImageNames, folder: str, given: Mapping[str, str] | None = None
) -> Columns | None:
    """Tell the columns of a table apart by their names and by which leads to images.

    Args:
        table: The table.
        images: The images.
        folder: The table's folder, from the root.
        given: Columns that the user names: those of ``NAMES``, ``CORNERS`` and ``BOX_SIDES``.

    Returns:
        None if no column names images or none can be the label.

    Raises:
        ConfigError: A column that the user names is not there.
        DataError: Several columns could be the label.
    """
    given = _checked(given or {}, table)
    names = [str(name) for name in table.rows.columns]
    path = given.get("path") or path_column(table, images, folder)
    if path is None:
        return None
    rest = [name for name in names if name != path and name not in given.values()]
    corners, sides = _given_box(given) or _box_columns(rest)
    rest = [name for name in rest if name not in (corners or ()) and name not in (sides or ())]
    split = given.get("split") or _split_column(table, rest)
    group = given.get("group") or _by_name("group", rest)
    domain = given.get("domain") or _by_name("domain", rest)
    rest = [name for name in rest if name not in (split, group, domain)]
    label = given.get("label")
    one_hot: tuple[str, ...] = ()
    if label is None:
        label = _label_column(table, rest)
        one_hot = _one_hot(table, rest) if label is None else ()
        if label is None and not one_hot:
            label = _only_other(table, rest)
    if label is None and not one_hot:
        return None
    return Columns(path, label, one_hot, split, group, domain, corners, sides)


def not_recognised(table: Table, path: str | None) -> DataError:
    """The error for a table in which no column of names or of labels was recognised."""
    names = [str(name) for name in table.rows.columns]
    if path is None:
        first = table.rows.head(1).to_dict("records")
        told = ", ".join(f"{name} {value!r:.40}" for row in first for name, value in row.items())
        return DataError(
            f"{table.file}: no column names images of the folder (its first row: {told or 'none'}). If the images are "
            "elsewhere, set data.root to their folder; otherwise name the column with data.label_columns={path: <column>}."
        )
    others = [name for name in names if name != path]
    return DataError(
        f"{table.file}: no column is recognised as the label. '{path}' names the images; the others are "
        f"{listed(others) or 'none'}. Name it with data.label_columns={{label: <column>}}."
    )


def path_column(table: Table, images: ImageNames, folder: str) -> str | None:
    """The column whose values lead to most images, of equal ones that with the more usual name; None if none does.

    A column without a usual name must lead to most of them. One with a usual name whose values end as image files do is
    it even if no image is there, so that they can be reported as missing.
    """
    usual, rows = NAMES["path"], table.rows
    some = rows.iloc[np.unique(np.linspace(0, max(len(rows) - 1, 0), LOOKED_AT).astype(int))] if len(rows) else rows
    scores: dict[str, tuple[float, int]] = {}
    for name in map(str, rows.columns):
        small = name.strip().lower()
        values = texts_of(some[name]).dropna()
        if small in (*NAMES["label"], *NAMES["split"]) or pd.api.types.is_float_dtype(rows[name].dtype) or values.empty:
            continue
        share = float((images.locate(values, folder).places != NOWHERE).mean())
        known = small in usual
        if share >= TELLING or (known and (share > 0 or is_image_name(str(values.iloc[0])))):
            scores[name] = (round(share, 1), -usual.index(small) if known else -len(usual))
    return max(scores, key=lambda name: scores[name], default=None)


def _checked(given: Mapping[str, str], table: Table) -> dict[str, str]:
    roles = (*NAMES, *CORNERS, *BOX_SIDES)
    if wrong := [role for role in given if role not in roles]:
        raise ConfigError(f"data.label_columns names columns for {listed(roles)}, not for {listed(wrong)}.")
    names = [str(name) for name in table.rows.columns]
    for role, name in given.items():
        if name not in names:
            raise ConfigError(
                f"data.label_columns: {table.file} has no column '{name}' (for {role}). Its columns, nearest first: "
                f"{listed(nearest_first(name, names))}."
            )
    return dict(given)


def _by_name(role: str, names: Sequence[str]) -> str | None:
    small = {name.strip().lower(): name for name in reversed(names)}
    return next((small[name] for name in NAMES[role] if name in small), None)


def _split_column(table: Table, names: Sequence[str]) -> str | None:
    """A column of a usual name whose values are splits; one that is called split is it in any case."""
    small = {name.strip().lower(): name for name in reversed(names)}
    for name in NAMES["split"]:
        if name in small:
            values = set(texts_of(table.rows[small[name]]).fillna("").str.lower().unique())
            if name == "split" or (values <= SPLIT_VALUES.keys() and values != {""}):
                return small[name]
    for name in SPLIT_FLAGS:
        if name in small and set(texts_of(table.rows[small[name]]).fillna("").str.lower().unique()) <= FLAGS.keys():
            return small[name]
    return None


def _label_column(table: Table, names: Sequence[str]) -> str | None:
    """The column with a usual name; of several that say the same the one with names rather than numbers.

    Raises:
        DataError: Several say different things.
    """
    small = {name.strip().lower(): name for name in reversed(names)}
    usual = [small[name] for name in NAMES["label"] if name in small]
    if len(usual) < 2:
        return usual[0] if usual else None
    chosen = next((name for name in usual if not _is_numeric(table.rows[name])), usual[0])
    for other in usual:
        if other != chosen and not _same_classes(table.rows[chosen], table.rows[other]):
            raise DataError(
                f"{table.file}: the columns {listed(usual)} could be the label, and they divide the images differently. "
                f"Choose with data.label_columns={{label: {chosen}}}."
            )
    return chosen


def _is_numeric(column: pd.Series[Any]) -> bool:
    return bool(pd.to_numeric(column, errors="coerce").notna().mean() > TELLING)


def _same_classes(one: pd.Series[Any], two: pd.Series[Any]) -> bool:
    pairs = pd.DataFrame({"one": texts_of(one), "two": texts_of(two)}).drop_duplicates()
    return bool(pairs["one"].is_unique and pairs["two"].is_unique)


def _one_hot(table: Table, names: Sequence[str]) -> tuple[str, ...]:
    """All further columns, if they hold 0 and 1 only and are two or more."""
    if len(names) < 2:
        return ()
    for name in names:
        values = pd.to_numeric(texts_of(table.rows[name]), errors="coerce")
        if not values.isin([0, 1]).all():
            return ()
    return tuple(names)


def _only_other(table: Table, names: Sequence[str]) -> str | None:
    """The one other column, if its values are repeated as those of classes are."""
    left = [name for name in names if name.strip().lower() not in (*SIZE_NAMES, *NO_LABELS)]
    if len(left) != 1:
        return None
    values = texts_of(table.rows[left[0]]).dropna()
    return left[0] if values.nunique() <= max(2, len(values) / 2) else None


def _given_box(given: Mapping[str, str]) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None] | None:
    """The columns of corners or of sides that the user names; None if there are none.

    Raises:
        ConfigError: Some of four are missing.
    """
    for roles, corners in ((CORNERS, True), (BOX_SIDES, False)):
        if named := [role for role in roles if role in given]:
            if len(named) < len(roles):
                raise ConfigError(
                    f"data.label_columns: a box needs the columns {listed(roles)}; only {listed(named)} given."
                )
            found = tuple(given[role] for role in roles)
            return (found, None) if corners else (None, found)
    return None


def _box_columns(names: Sequence[str]) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    small = {name.strip().lower(): name for name in reversed(names)}
    for forms, corners in ((BOXES, True), (SIDES, False)):
        for form in forms:
            if all(name in small for name in form):
                found = tuple(small[name] for name in form)
                return (found, None) if corners else (None, found)
    return None, None


def texts_of(column: pd.Series[Any]) -> pd.Series[Any]:
    """The values as text without blanks at their ends; whole numbers without a point; missing stays missing."""
    if pd.api.types.is_float_dtype(column.dtype):
        whole = (column.dropna() == np.floor(column.dropna())).all()
        text = (column.astype("Int64") if whole else column).astype("str")
    else:
        text = column.astype("str")
    text = text.str.strip()
    return text.where(column.notna())
