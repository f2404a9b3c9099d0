"""Makes a sample table of rows of labels and the images that they name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from datamodules.folder_names import first_split
from datamodules.image_names import NOWHERE, SEVERAL, ImageNames
from datamodules.label_rows import CORNERS, LabelRows, one_of_each
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import few, listed, natural_key, plural

NOT_COLUMNS = ("name", "file", "number", "place", *CORNERS)
"""Columns of the rows that do not join the sample table."""


def whole_images(
    parts: Sequence[LabelRows], images: ImageNames, problems: DataProblems
) -> tuple[pd.DataFrame, list[str]]:
    """One row for each labelled image, and the class names in natural order.

    An image whose boxes all have one class has that label. What is said of a whole image counts before its boxes.

    Args:
        parts: Rows of labels.
        images: The images below the data's root.
        problems: Where problems go.

    Raises:
        DataError: Images have several labels, or no label leads to an image.
    """
    rows = _placed(parts, images, problems)
    if "x1" in rows:
        whole = rows["x1"].isna()
        rows = rows[whole | ~rows["place"].isin(rows.loc[whole, "place"])]
    labels = rows[["place", "label"]].drop_duplicates()
    several = labels["place"].value_counts()
    several = several[several > 1]
    if len(several):
        raise _several_labels(parts, rows, labels, list(several.index), images)
    again = rows["place"].duplicated()
    if again.any() and "x1" not in rows:
        problems.remark(f"{parts[0].file.name}: {plural(int(again.sum()), 'row')} repeat the label of an image.")
    _check_same_split(rows, images, parts[0], problems)
    if "x1" in rows and rows["x1"].notna().any():
        problems.remark(
            f"{parts[0].file.name}: boxes of one class an image; the whole images are used. To crop to the boxes, use "
            "the datamodule BoundingBoxes with the same data.labels."
        )
    return _samples(rows[~again], images, problems)


def boxes(parts: Sequence[LabelRows], images: ImageNames, problems: DataProblems) -> tuple[pd.DataFrame, list[str]]:
    """One row for each box, and for each labelled image without boxes; the class names in natural order.

    The boxes of an image are a group, unless the rows have groups: they are never split.

    Args:
        parts: Rows of labels.
        images: The images below the data's root.
        problems: Where problems go.

    Raises:
        DataError: No label leads to an image.
    """
    rows = _placed(parts, images, problems)
    if "x1" not in rows:
        problems.remark(f"{parts[0].file.name}: it has no boxes; the whole images are used.")
        rows = rows.assign(**dict.fromkeys(CORNERS, np.nan))
    whole = rows["x1"].isna()
    beside = whole & rows["place"].isin(rows.loc[~whole, "place"])
    if beside.any():
        problems.remark(
            f"{parts[0].file.name}: {plural(int(beside.sum()), 'label')} of whole images that have boxes, not used."
        )
        rows = rows[~beside]
    same = rows.duplicated(["place", *CORNERS], keep=False)
    differ = rows[same].drop_duplicates(["place", *CORNERS, "label"])
    differ = differ[differ.duplicated(["place", *CORNERS], keep=False)]
    if len(differ):
        paths = [images.paths[place] for place in differ["place"].unique()]
        problems.problem(f"{parts[0].file.name}: boxes with two classes in {listed(paths, 5)}")
    again = rows.duplicated(["place", *CORNERS])
    if again.any():
        problems.remark(
            f"{parts[0].file.name}: {plural(int(again.sum()), 'row')} with a box that is already there, used once."
        )
        rows = rows[~again]
    corners = list(map(tuple, rows[list(CORNERS)].to_numpy().tolist()))
    whole = rows["x1"].isna()
    rows = rows.assign(
        box_xyxy=pd.Series(
            [None if none else box for box, none in zip(corners, whole, strict=True)], index=rows.index, dtype="object"
        )
    )
    if whole.all():
        rows = rows.drop(columns="box_xyxy")
    if "group" not in rows and rows["place"].duplicated().any():
        rows = rows.assign(
            group=pd.Series([images.paths[place] for place in rows["place"]], index=rows.index, dtype="str")
        )
    return _samples(rows, images, problems)


def _placed(parts: Sequence[LabelRows], images: ImageNames, problems: DataProblems) -> pd.DataFrame:
    """The labelled rows of all parts, each with the ``place`` of its image."""
    tables, named = [], np.zeros(len(images.paths), dtype=bool)
    for part in parts:
        found = images.locate(part.rows["name"], part.folder)
        places = found.places
        if part.other_names is not None and (places < 0).any():
            left = np.flatnonzero(places < 0)
            others = images.locate(part.other_names.iloc[left], part.folder).places
            if (others == NOWHERE).any():  # beside the image's own folder
                bare = part.other_names.iloc[left].str.rpartition("/")[2]
                others = np.where(others == NOWHERE, images.locate(bare, part.folder).places, others)
            places[left] = np.where(others == NOWHERE, places[left], others)
        rows = part.rows.assign(place=places)
        problems.remarks += found.remarks(part.file.name)
        if (rows["place"] == NOWHERE).all() and len(rows):
            raise _nothing_found(part, images)
        _report_lost(part, rows, problems)
        named[rows.loc[rows["place"] >= 0, "place"].to_numpy()] = True
        rows = rows[rows["place"] >= 0]
        tables.append(rows)
    rows = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["place", "label"])
    if len(rows) == 0 and not problems.problems and not problems.unusable:
        raise DataError(f"{parts[0].file}: it has no rows, expected images and their labels.")
    rows = _with_split(rows, images)
    labelled = rows["label"].notna()
    only_unlabelled = rows.loc[~labelled, "place"].unique()
    if len(only_unlabelled):
        count = int((~np.isin(only_unlabelled, rows.loc[labelled, "place"].to_numpy())).sum())
        if count:
            problems.remark(f"{parts[0].file.name}: {plural(count, 'image')} without a label, not used.")
    if not named.all():
        unnamed = [images.paths[place] for place in np.flatnonzero(~named).tolist()]
        folders = Counter(path.rpartition("/")[0] for path in unnamed)
        told = few((f"{count} in {folder or images.root.name}/" for folder, count in folders.most_common()), 3)
        problems.remark(
            f"{plural(len(unnamed), 'image')} not named in {parts[0].file.name}: unlabelled, not used ({told})."
        )
    return rows[labelled]


def _report_lost(part: LabelRows, rows: pd.DataFrame, problems: DataProblems) -> None:
    """Add the names without an image, and those of several, each once."""
    lost = rows[rows["place"] == NOWHERE].drop_duplicates("name")
    for at, name in lost["name"].items():
        problems.bad(part.place(at), f"image not found ({name})")
    for at, name in rows.loc[rows["place"] == SEVERAL, "name"].drop_duplicates().items():
        problems.problem(f"{part.place(at)}: several images are called {name!r}; write their folder too")


def _with_split(rows: pd.DataFrame, images: ImageNames) -> pd.DataFrame:
    """Rows whose files do not state the split have that of their folders, if these are an official one."""
    if "split" in rows:
        return rows.assign(split=rows["split"].fillna("").astype("str"))
    folders = [path.rpartition("/")[0] for path in images.paths]
    split_of = {folder: first_split(folder.split("/")) for folder in set(folders)}
    found = np.array([split_of[folder] or "" for folder in folders], dtype="object")[
        rows["place"].to_numpy(dtype=np.int64)
    ]
    official = one_of_each([split or None for split in set(found)])
    return rows.assign(split=pd.Series(found if official else "", index=rows.index, dtype="str"))


def _check_same_split(rows: pd.DataFrame, images: ImageNames, part: LabelRows, problems: DataProblems) -> None:
    pairs = rows[["place", "split"]].drop_duplicates()
    twice = pairs.loc[pairs["place"].duplicated(), "place"]
    if len(twice):
        paths = [images.paths[place] for place in twice.unique()]
        problems.problem(f"{part.file.name}: images in two splits: {listed(paths, 5)}")


def _samples(rows: pd.DataFrame, images: ImageNames, problems: DataProblems) -> tuple[pd.DataFrame, list[str]]:
    label = rows["label"].astype("str")
    class_names = sorted(label.unique(), key=natural_key)
    if len(class_names) > 10 and len(class_names) == len(rows):
        raise DataError(
            f"Each of the {len(rows)} labels is another one ({listed(class_names, 3)}): is this the label? Name its column "
            "with data.label_columns={label: <column>}."
        )
    joined = [name for name in class_names if any(mark in name for mark in "|;") and _parts(name) <= set(class_names)]
    if joined:
        raise DataError(
            f"Labels such as {listed(joined, 3)} are several labels of one image ({listed(sorted(_parts(joined[0])), 5)} "
            "are labels too). A classifier of one label an image cannot learn them: choose one, or remove these images."
        )
    code = pd.Series(pd.Categorical(label, categories=class_names).codes, dtype="int64")
    samples = pd.DataFrame(
        {
            "path": pd.Series([images.paths[place] for place in rows["place"]], dtype="str"),
            "label": code,
            "split": rows["split"].reset_index(drop=True).astype("str"),
        }
    )
    for name in rows.columns:
        if name not in NOT_COLUMNS and name not in samples:
            samples[name] = rows[name].reset_index(drop=True)
    return samples, class_names


def _parts(name: str) -> set[str]:
    return {part.strip() for part in name.replace(";", "|").split("|") if part.strip()}


def _several_labels(
    parts: Sequence[LabelRows], rows: pd.DataFrame, labels: pd.DataFrame, several: list[int], images: ImageNames
) -> DataError:
    shown = [
        f"{images.paths[place]} ({listed(labels.loc[labels['place'] == place, 'label'], 4)})" for place in several[:3]
    ]
    way_out = (
        "To learn from each box, use the datamodule BoundingBoxes with the same data.labels."
        if "x1" in rows and rows["x1"].notna().any()
        else "Keep one label an image, or remove these images."
    )
    return DataError(
        f"{parts[0].file}: {plural(len(several), 'image')} of {labels['place'].nunique()} {'has' if len(several) == 1 else 'have'} "
        f"several labels: {few(shown, 3)}. A classifier of images needs one label an image. {way_out}"
    )


def _nothing_found(part: LabelRows, images: ImageNames) -> DataError:
    names = part.rows["name"].iloc[:3].tolist()
    return DataError(
        f"{part.file}: none of its {len(part.rows)} names is an image below {images.root}. It has {listed(names)}; the "
        f"folder has {listed(images.paths[:3])}. Set data.root to the folder of the images, or name the column of the "
        "paths with data.label_columns={path: <column>}."
    )


def rename_labels(
    parts: Sequence[LabelRows], names: Mapping[str, str], file_name: str, problems: DataProblems
) -> list[LabelRows]:
    """The rows with the names of a second table instead of its keys.

    Args:
        parts: Rows of labels.
        names: The name of each key.
        file_name: Of the second table, for messages.
        problems: Where labels go that the table does not have.
    """
    renamed: list[LabelRows] = []
    unknown: Counter[str] = Counter()
    for part in parts:
        label = part.rows["label"]
        known: pd.Series[Any] = label.map(names)
        unknown.update(label[label.notna() & known.isna()].tolist())
        renamed.append(part.with_rows(part.rows.assign(label=known)))
    used = {label for part in parts for label in part.rows["label"].dropna().unique() if label in names}
    shared = Counter(names[label] for label in used)
    if merged := sorted(name for name, count in shared.items() if count > 1):
        problems.remark(
            f"data.label_names: {file_name} gives several labels the names {listed(merged, 5)}: one class each."
        )
    for missing, count in unknown.items():
        problems.problem(
            f"data.label_names: {file_name} has no name for the label {missing!r} of {plural(count, 'image')}"
        )
    return renamed
