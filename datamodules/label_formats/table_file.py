"""Reads a table of labels from CSV, TSV, text lists, JSON lines, JSON and Parquet, whatever its columns are."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from datamodules.annotation_tables import Table, read_records
from datamodules.documents import read_json, read_text
from datamodules.label_formats.object_lists import COLUMN, has_objects, one_row_each
from datamodules.parquet_file import read_parquet
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError
from lightning_vision.images.image_files import EXTENSIONS, HEIC_EXTENSIONS
from lightning_vision.terminal.wording import listed, plural

DELIMITED = (".csv", ".tsv", ".tab", ".txt", ".lst")
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")
TABLE_SUFFIXES = (*DELIMITED, *JSON_LINES, ".json", *PARQUET)
XYWH = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")
XYXY = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
BOX_LISTS = {"bbox": XYWH, "bbox_xywh": XYWH, "bbox_xyxy": XYXY, "box_xyxy": XYXY}
"""Columns with a whole box in each value: COCO's bbox is x, y, width and height."""
SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars", " ": "blanks"}


def read_table_file(file: Path, problems: DataProblems, most: int = -1) -> Table:
    """Read a table of any kind; its columns keep their names, values are text (Parquet and JSON: as they are).

    A CSV, TSV or text file may separate its columns by commas, tabs, semicolons, vertical bars or blanks. If the first
    line of such a file names an image, it has no header, and columns are called ``column 1``, ``column 2``, ... The column
    ``objects`` of Hugging Face becomes a row for each object.

    Args:
        file: The file.
        problems: Where problems go.
        most: Bytes of a text that are read, to the end of a line; below 0: all.

    Raises:
        DataError: It cannot be read as a table.
    """
    table = _read(file, problems, most)
    if COLUMN in table.rows and has_objects(table.rows[COLUMN]):
        problems.remark(
            f"{file.name}: the column '{COLUMN}' is read as boxes (x, y, width and height) with categories."
        )
        return one_row_each(table, problems)
    for name, sides in BOX_LISTS.items():
        if name in table.rows and (boxes := _four_numbers(table.rows[name])) is not None:
            form = "x, y, width and height" if sides is XYWH else "x1, y1, x2 and y2"
            problems.remark(f"{file.name}: the column '{name}' is read as {form} of a box.")
            rows = table.rows.drop(columns=[name, *(side for side in sides if side in table.rows)])
            return Table(file, rows.assign(**{side: boxes[place] for place, side in enumerate(sides)}))
    return table


def _read(file: Path, problems: DataProblems, most: int) -> Table:
    suffix = file.suffix.lower()
    if suffix in PARQUET:
        return _read_parquet(file)
    if suffix in JSON_LINES:
        return _read_json_lines(file, problems, most)
    if suffix == ".json":
        return _of_objects(file, read_json(file), problems)
    if suffix not in DELIMITED:
        raise DataError(f"{file} is not a table: expected a file {', '.join(TABLE_SUFFIXES)}.")
    return _read_delimited(file, problems, most)


def _four_numbers(column: pd.Series[Any]) -> pd.DataFrame | None:
    """The numbers of values such as ``[1, 2, 3, 4]``, texts or lists; None if a value is anything else."""
    number = r"\s*(-?\d+(?:\.\d*)?)\s*"
    text = column.astype("str").str.strip()
    found = text.str.extract(rf"^[\[(]?{number}[,\s]{number}[,\s]{number}[,\s]{number}[\])]?$")
    given = column.notna() & (text != "")
    return found if given.any() and found[given].notna().all(axis=None) else None


def is_image_name(text: str) -> bool:
    """Whether a text ends as the names of image files do."""
    return Path(text.strip()).suffix.lower() in EXTENSIONS | HEIC_EXTENSIONS


def _read_delimited(file: Path, problems: DataProblems, most: int) -> Table:
    text = read_text(file, most=most)
    if "\0" in text[:1000]:
        raise DataError(f"{file} is not a text file. Save the table as CSV in UTF-8.")
    separator = _separator(text, file.suffix.lower())
    records = read_records(file, _single_blanks(text) if separator == " " else text, problems, separator)
    if not records:
        raise DataError(f"{file} is empty. Expected a table of image files and labels.")
    first = [field.strip() for field in records[0][1]]
    header = not any(is_image_name(field) or "/" in field for field in first) and len(records) > 1
    header = header and not all(_is_number(field) for field in first[1:] or first)
    names = first if header else [f"column {number}" for number in range(1, len(first) + 1)]
    if repeated := [name for name, count in Counter(name for name in names if name).items() if count > 1]:
        raise DataError(f"{file} has the column {listed(repeated)} twice. Rename one of them.")
    records = records[1:] if header else records
    good = [record for record in records if len(record[1]) == len(names)]
    if len(good) < len(records):
        for line, fields in records:
            if len(fields) != len(names):
                problems.problem(f"{file.name} line {line}: {plural(len(fields), 'field')}, expected {len(names)}")
    index = pd.Index([line for line, _ in good], name="line", dtype="int64")
    columns = zip(*(fields for _, fields in good), strict=True) if good else ([] for _ in names)
    rows = pd.DataFrame(
        {
            name: pd.Series(list(values), index=index, dtype="str")
            for name, values in zip(names, columns, strict=True)
            if name  # the index of a pandas table that was written with it
        },
        index=index,
    )
    return Table(file, rows)


def _separator(text: str, suffix: str) -> str:
    """What separates the fields of the first line: the character that the first lines have equally often, and most often."""
    lines = [line for line in text[:100_000].split("\n")[:20] if line.strip()]
    if not lines:
        return ","
    if suffix in (".tsv", ".tab") and "\t" in lines[0]:
        return "\t"
    first = next(csv.reader([lines[0]], delimiter=","), [])
    counts = {mark: lines[0].count(mark) for mark in SEPARATORS}
    if len(first) > 1:
        return "," if counts[","] >= counts[";"] else ";"
    return next((mark for mark in ("\t", ";", "|") if counts[mark]), _blank_or_comma(lines))


def _blank_or_comma(lines: list[str]) -> str:
    """Blanks separate fields where all lines have equally many of them, as in the lists of many datasets."""
    counts = {len(line.split()) for line in lines}
    return " " if len(counts) == 1 and counts != {1} else ","


def _single_blanks(text: str) -> str:
    return "\n".join(" ".join(line.split()) for line in text.split("\n"))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_json_lines(file: Path, problems: DataProblems, most: int) -> Table:
    objects: list[Any] = []
    lines: list[int] = []
    for number, line in enumerate(io.StringIO(read_text(file, most=most)), start=1):
        if not line.strip():
            continue
        try:
            objects.append(json.loads(line))
            lines.append(number)
        except (json.JSONDecodeError, RecursionError) as error:
            problems.problem(f"{file.name} line {number}: not valid JSON ({' '.join(str(error).split())[:80]})")
    return _of_objects(file, objects, problems, lines, "line")


def _of_objects(
    file: Path, objects: Any, problems: DataProblems, numbers: list[int] | None = None, unit: str = "row"
) -> Table:
    """A table of JSON objects; of a single one whose values are texts, the keys are the names of images."""
    if isinstance(objects, dict) and objects and all(isinstance(value, str | int) for value in objects.values()):
        objects = [{"path": key, "label": value} for key, value in objects.items()]
    if not isinstance(objects, list) or not objects:
        raise DataError(f"{file}: expected a list of objects with the name of an image and its label.")
    numbers = numbers or list(range(1, len(objects) + 1))
    good = [isinstance(item, dict) for item in objects]
    for number, fine, item in zip(numbers, good, objects, strict=True):
        if not fine:
            problems.problem(f"{file.name} {unit} {number}: expected an object, found {item!r:.60}")
    index = pd.Index([number for number, fine in zip(numbers, good, strict=True) if fine], name=unit, dtype="int64")
    rows = pd.DataFrame([item for item in objects if isinstance(item, dict)], index=index)
    return Table(file, rows)


def _read_parquet(file: Path) -> Table:
    table, images = read_parquet(file)
    if images:
        raise DataError(
            f"{file} holds the images themselves (the column {listed(images)}), not their names. Read it with the "
            f"datamodule ParquetImages: --data ParquetImages --data.root {file.parent} --data.labels {file.name}."
        )
    return table
