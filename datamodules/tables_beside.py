"""Tables that lie beside images and name them: where labels or an official split may be."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from datamodules.folder_tree import Folder
from lightning_vision.images.image_files import extension_of
from lightning_vision.terminal.wording import nfc, plural

TABLES = {".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson"}
MOST_TABLES = 20
"""More text files in one folder are notes to each image, and no tables."""
MOST_CANDIDATES = 40
"""Tables that are looked into, those in the upper folders first."""
MOST_BYTES = 1 << 16
MOST_ROWS = 300
NOT_IN_METADATA = {"label", "box_xyxy", "source", "role"}
"""Columns with which a table is refused as ``data.metadata``."""
DEPTH = 2


class TableBeside(NamedTuple):
    """A table that names images."""

    path: str
    """From the root."""
    named: int
    """Rows that name an image, of those that were read."""
    agrees: bool
    """Its rows name the folder of each image too."""
    may_label: bool
    """Another column has few values, as labels do."""
    adds_columns: bool
    """It could be ``data.metadata``."""

    def sentence(self) -> str:
        """What was found."""
        return f"{self.path} names {'at least ' if self.named >= MOST_ROWS else ''}{plural(self.named, 'image')}"


def tables_beside(tree: Folder, classes: Iterable[tuple[str, str]], given: Path | None = None) -> list[TableBeside]:
    """The tables at most two folders below the root that name its images.

    Args:
        tree: The root.
        classes: Path and class of each image.
        given: A table that is used already.
    """
    candidates = [
        (folder, name)
        for folder in _upper(tree, DEPTH)
        for name in _texts(folder)
        if given is None or (Path(folder.place) / name).resolve() != given.resolve()
    ]
    if not candidates:
        return []
    candidates = sorted(candidates, key=lambda each: each[0].path.count("/") + bool(each[0].path))[:MOST_CANDIDATES]
    known: dict[str, set[str]] = {}
    for path, name in classes:
        file = nfc(PurePosixPath(path).name).casefold()
        for key in {file, file.rpartition(".")[0]}:
            known.setdefault(key, set()).add(nfc(name).casefold())
    found = (_look(folder, name, known) for folder, name in candidates)
    return [table for table in found if table is not None]


def _upper(folder: Folder, depth: int) -> Iterable[Folder]:
    yield folder
    if depth:
        for below in folder.folders[:50]:
            yield from _upper(below, depth - 1)


def _texts(folder: Folder) -> list[str]:
    names = [name for name, _ in folder.skipped if extension_of(name) in TABLES]
    return names if len(names) <= MOST_TABLES else []


def _look(folder: Folder, name: str, known: Mapping[str, set[str]]) -> TableBeside | None:
    rows = [row for row in _rows(Path(folder.place) / name, extension_of(name)) if row]
    columns = max((len(row) for row in rows), default=0)
    best: list[tuple[list[str], set[str]]] = []
    place = 0
    for column in range(columns):
        hits = [(row, known[key]) for row in rows if column < len(row) and (key := _key(row[column])) in known]
        distinct = {row[column] for row, _ in hits}
        if len(hits) >= 2 and len(distinct) >= 0.8 * len(hits) and len(hits) > len(best):
            best, place = hits, column
    if len(best) < max(2, 0.5 * (len(rows) - 1)):
        return None
    agreeing = sum(any(_tells(row, each) for each in classes) for row, classes in best)
    may_label = False
    for column in range(columns):
        values = {row[column] for row, _ in best if column < len(row)}
        may_label |= column != place and 1 < len(values) <= max(2, len(best) // 2)
    header = {field.strip().casefold() for field in rows[0]}
    adds_columns = extension_of(name) == ".csv" and "path" in header and not header & NOT_IN_METADATA
    return TableBeside(folder.path_of(name), len(best), agreeing >= 0.9 * len(best), may_label, adds_columns)


def _key(field: str) -> str:
    return nfc(field).replace("\\", "/").rpartition("/")[2].strip().casefold()


def _tells(row: Sequence[str], class_name: str) -> bool:
    """Whether a row names the class: as a field, or as a folder of a path."""
    return any(
        class_name in (part.strip() for part in nfc(field).replace("\\", "/").casefold().split("/")) for field in row
    )


def _rows(file: Path, extension: str) -> list[list[str]]:
    """The first rows of a table, as texts; of JSON the texts of each object or line."""
    try:
        with file.open("rb") as opened:
            text = opened.read(MOST_BYTES).decode("utf-8-sig", "replace")
    except OSError:
        return []
    if extension in (".json", ".jsonl", ".ndjson"):
        parts = text.splitlines() if extension != ".json" else re.split(r"[{}]|\n", text)
        texts = (re.findall(r'"((?:[^"\\]|\\.)*)"', part) for part in parts)
        return list(islice((row for row in texts if row), MOST_ROWS))
    lines = text.splitlines()[:MOST_ROWS]
    separator = next((each for each in ",;\t|" if lines and each in lines[0]), "")
    if separator:
        return list(csv.reader(lines, delimiter=separator))
    return [line.split() for line in lines]
