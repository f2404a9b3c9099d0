"""A CSV file of images and their bounding boxes, as a sample table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from datamodules.annotation_tables import Table, read_csv
from datamodules.gitw_tree import SPLITS, Box, counts_from_one, no_such_frame, read_videos, say_chosen_classes
from datamodules.image_names import from_root
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError
from lightning_vision.images.video_frames import VIDEO_SUFFIXES
from lightning_vision.terminal.wording import listed, natural_key

SIDES = ("x", "y", "w", "h")
COLUMNS = ("path", *SIDES, "class")
"""That the file must have."""
MADE_HERE = ("label", "box_xyxy")
"""That it must not have."""


def read_box_table(
    file: Path, root: Path, classes: Sequence[str] | None, kept: Path, workers: int, findings: DataProblems
) -> tuple[pd.DataFrame, list[str]]:
    """Read the file: one row a box, in its order, and the class names in natural order.

    The columns are path (relative to root), x, y, w, h (all empty: the whole image), class and, where they are
    there, split and frame (a number from 0 where path is a video). All others join the sample table.

    Args:
        file: The file.
        root: Where its paths start.
        classes: Those to read; None: all.
        kept: Folder for caches.
        workers: Videos that are looked into at a time.
        findings: Where rows go that cannot be used.

    Raises:
        DataError: It is no such table.
        ConfigError: There is no such class.
    """
    table = read_csv(file, findings, COLUMNS)
    if made := [name for name in MADE_HERE if name in table.rows]:
        raise DataError(
            f"{file} must not have the columns {listed(made)}, which are computed from class and x, y, w, h."
        )
    table = table.texts(["path", "class"], findings)
    say_chosen_classes(classes, table.rows["class"].tolist(), findings)
    if classes is not None:
        table = table.keep(table.rows["class"].isin(classes))
    if "frame" in table.rows:
        text = table.rows["frame"].str.strip()
        table = Table(file, table.rows.assign(frame=text.where(text != "", "-1"))).whole_numbers(["frame"], findings)
    table = _with_files(_with_boxes(_with_split(table, findings), findings), root, findings)
    table = _with_frames(table, root, kept, workers, findings)
    rows = table.rows.reset_index(drop=True)
    class_names = sorted(rows["class"].unique(), key=natural_key)
    samples = pd.DataFrame(
        {
            "path": rows["path"].astype("str"),
            "label": rows["class"].map({name: label for label, name in enumerate(class_names)}).astype("int64"),
            "split": rows["split"].astype("str"),
        }
    )
    for column in rows.columns.difference([*COLUMNS, "split"], sort=False):
        values = rows[column]
        if column == "frame" or (column == "box_xyxy" and values.notna().any()):
            samples[column] = values
        elif column != "box_xyxy":
            samples[column] = values.astype("object").where(values != "", None)
    if "frame" in rows and "group" not in rows:  # neighbouring frames are near copies
        samples["group"] = rows["path"].astype("object").where(rows["frame"] >= 0, None)
    return samples, class_names


def box_of_sides(place: str, sides: Sequence[float], findings: DataProblems) -> Box | None:
    """The corners of a box that is given as x, y, w, h; one without pixels is bad."""
    x, y, w, h = sides
    if w > 0 and h > 0:
        return float(x), float(y), float(x + w), float(y + h)
    turned = "; are these corners? Expected x, y, width and height" if w < 0 or h < 0 else ""
    findings.bad(place, f"the box has no pixels ({w:g} wide and {h:g} high{turned})")
    return None


def _with_split(table: Table, findings: DataProblems) -> Table:
    rows = table.rows
    split = rows["split"].str.strip().str.lower() if "split" in rows else pd.Series("", index=rows.index, dtype="str")
    names = {"": "", **SPLITS}
    for line, value in split[~split.isin(names)].items():
        findings.problem(f"{table.place(line)}: split is {value!r}, expected train, val, test or an empty field")
    return Table(table.file, rows.assign(split=split.map(names).fillna("")))


def _with_boxes(table: Table, findings: DataProblems) -> Table:
    """The rows whose box can be used, with the column ``box_xyxy``; each image and box once."""
    rows = table.rows
    texts = rows[list(SIDES)].apply(lambda column: column.str.strip())
    whole = (texts == "").all(axis=1)
    sides = texts.apply(lambda column: pd.to_numeric(column, errors="coerce")).astype("float64")
    wrong = ~whole & ~np.isfinite(sides).all(axis=1)
    for line, *found in texts[wrong].itertuples():
        findings.problem(
            f"{table.place(line)}: expected four numbers x, y, w and h, or none, found {', '.join(found)!r}"
        )
    boxes: dict[int, Box | None] = dict.fromkeys(rows.index, None)
    for line, *four in sides[~whole & ~wrong].itertuples():
        boxes[line] = box_of_sides(table.place(line), four, findings)
    rows = rows.assign(box_xyxy=pd.Series(boxes, index=rows.index, dtype="object"))
    rows = rows[whole | rows["box_xyxy"].notna()]
    again = rows.duplicated([name for name in ("path", "frame", "box_xyxy") if name in rows])
    for line in rows.index[again]:
        findings.problem(f"{table.place(line)}: duplicate of an image and box in a previous line")
    return Table(table.file, rows[~again])


def _with_files(table: Table, root: Path, findings: DataProblems) -> Table:
    """The rows whose image is there."""
    paths = from_root(table.rows["path"], root)
    inside = ~(paths.str.startswith("/") | paths.str.split("/").map(lambda parts: ".." in parts).astype(bool))
    for line, name in paths[~inside].items():
        findings.problem(f"{table.place(line)}: path is {name!r}, expected a path relative to {root} and inside it")
    rows = table.rows.assign(path=paths)[inside]
    there = {str(path): _is_file(root / str(path)) for path in rows["path"].unique()}
    for path, found in there.items():
        if not found:
            findings.bad(path, f"file not found, listed in {table.file.name}")
    return Table(table.file, rows[rows["path"].map(there).astype(bool)])


def _with_frames(table: Table, root: Path, kept: Path, workers: int, findings: DataProblems) -> Table:
    """The rows that are no videos, or frames that their video has."""
    rows = table.rows
    video = rows["path"].map(lambda path: Path(path).suffix.lower() in VIDEO_SUFFIXES).astype(bool)
    if not video.any():
        return table
    frames = rows["frame"] if "frame" in rows else pd.Series(-1, index=rows.index)
    asked: dict[str, dict[int, int]] = {}  # video to line to frame
    for line, path, frame in zip(rows.index[video], rows.loc[video, "path"], frames[video], strict=True):
        asked.setdefault(str(path), {})
        if frame < 0:
            findings.bad(table.place(line), "a video needs a frame number, from 0, in the column 'frame'")
        else:
            asked[str(path)][int(line)] = int(frame)
    good = set(rows.index[~video])
    for name, footage in read_videos(list(asked), root, kept, workers, findings).items():
        if counts_from_one(f"{table.file.name}, for {name},", list(asked[name].values()), footage, findings):
            continue
        for line, frame in asked[name].items():
            if footage.image(frame) is None:
                findings.bad(table.place(line), no_such_frame(frame, footage))
            else:
                good.add(line)
    return Table(table.file, rows[rows.index.isin(good)])


def _is_file(path: Path) -> bool:
    """Whether it is one; nothing can be where the name is too long."""
    try:
        return path.is_file()
    except OSError:
        return False
