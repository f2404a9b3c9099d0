"""Tables that lie beside images and name them: where labels or an official split may be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.annotation_tables import Table
from datamodules.folder_tree import Folder
from datamodules.image_names import NOWHERE, ImageNames
from datamodules.label_files import label_files_in, recognise
from datamodules.label_formats.table_file import PARQUET, TABLE_SUFFIXES, read_table_file
from datamodules.table_columns import path_column, texts_of
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import nfc, plural

MOST_TABLES = 20
"""More text files in one folder are notes to each image, and no tables."""
MOST_CANDIDATES = 40
"""Tables that are looked into, those in the upper folders first."""
MOST_BYTES, MOST_ROWS = 1 << 16, 300
"""Of a table that are read."""
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
        (folder.path, file)
        for folder in _upper(tree, DEPTH)
        for file in _tables_in(folder)
        if given is None or file.resolve() != given.resolve()
    ]
    if not candidates:
        return []
    candidates = sorted(candidates, key=lambda each: each[0].count("/") + bool(each[0]))[:MOST_CANDIDATES]
    pairs = list(classes)
    images = ImageNames([path for path, _ in pairs], Path(tree.place))
    names = [nfc(name).casefold() for _, name in pairs]
    found = (_look(folder, file, images, names) for folder, file in candidates)
    return [table for table in found if table is not None]


def _upper(folder: Folder, depth: int) -> Iterable[Folder]:
    yield folder
    if depth:
        for below in folder.folders[:50]:
            yield from _upper(below, depth - 1)


def _tables_in(folder: Folder) -> list[Path]:
    files = [file for file in label_files_in(folder, deep=False) if file.suffix.lower() in TABLE_SUFFIXES]
    return [] if len(files) > MOST_TABLES else [file for file in files if file.suffix.lower() not in PARQUET]


def _look(folder: str, file: Path, images: ImageNames, names: Sequence[str]) -> TableBeside | None:
    try:
        if recognise(file)[0] != "table":
            return None
        whole = read_table_file(file, DataProblems(), MOST_BYTES)
    except DataError:
        return None  # it need not be a table
    table = Table(file, whole.rows.head(MOST_ROWS))
    path = path_column(table, images, folder)
    if path is None:
        return None
    places = images.locate(texts_of(table.rows[path]).fillna(""), folder).places
    there = places != NOWHERE
    named = table.rows[there]
    if len(named) < max(2, 0.5 * len(table.rows)) or named[path].nunique() < 0.8 * len(named):
        return None
    fields = [[nfc(str(value)).casefold() for value in row] for row in named.to_numpy(dtype=object)]
    agreeing = sum(_tells(row, names[place]) for row, place in zip(fields, places[there], strict=True) if place >= 0)
    known = int((places >= 0).sum())
    counts = [texts_of(named[name]).nunique() for name in named.columns if name != path]
    may_label = any(1 < count <= max(2, len(named) // 2) for count in counts)
    header = {str(name).strip().casefold() for name in table.rows.columns}
    adds_columns = file.suffix.lower() == ".csv" and "path" in header and not header & NOT_IN_METADATA
    agrees = bool(known) and agreeing >= 0.9 * known
    shown = f"{folder}/{file.name}" if folder else file.name
    return TableBeside(shown, int(np.count_nonzero(there)), agrees, may_label, adds_columns)


def _tells(row: Sequence[str], class_name: str) -> bool:
    """Whether a row names the class: as a field, or as a folder of a path."""
    return any(class_name in (part.strip() for part in field.replace("\\", "/").split("/")) for field in row)
