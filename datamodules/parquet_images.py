"""Tables in Parquet that hold the image files themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.annotation_tables import Table
from datamodules.class_name_table import read_class_names
from datamodules.dataset_folder import contents
from datamodules.folder_names import first_split
from datamodules.folder_tree import files_below
from datamodules.image_names import ImageNames
from datamodules.label_formats.object_lists import COLUMN, one_row_each
from datamodules.label_rows import LabelRows, one_of_each
from datamodules.label_table import label_rows
from datamodules.labelled_samples import rename_labels, whole_images
from datamodules.parquet_file import NO_IMAGE, copy_images, read_parquet
from datamodules.table_columns import find_columns, not_recognised
from datamodules.tar_index import Member, read_member
from lightning_vision.data.stored_images import StoredImages
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.storage.array_file import read_arrays, write_arrays
from lightning_vision.storage.atomic_write import write_atomically
from lightning_vision.storage.cache_folder import cache_folder, locked
from lightning_vision.storage.file_facts import file_versions
from lightning_vision.terminal.progress_bar import progress_bar
from lightning_vision.terminal.wording import listed, natural_key

PLACE = "place in the file"
"""The column that names the image of each row."""


class ParquetImages(StoredImages):
    """Images in a column of Parquet files, as the Hugging Face Hub stores them, with their labels in another column.

    The image is a struct with ``bytes`` (``{bytes, path}``) or a binary column. The columns of labels, splits and groups
    are recognised as in other tables. A column cannot be read at random, so the images are copied once, a few rows at a
    time, into a file in ``cache_dir``; afterwards each is read from its place when it is needed, and memory does not grow
    with them. Needs pip install 'lightning_vision[parquet]'.

    Args:
        root: The folder of the files.
        labels: The file, or files, below the root. None: all ``*.parquet``. If the names of several say train, val and
            test, they are the split.
        image_column: None: the only column that holds images.
        label_columns: Columns of the table: label, split, group, domain; those that are not given are recognised.
        label_names: A file that names the labels, if they are numbers or codes: as in ``ImageFolder``.
        options: See ``StreamDataModule``.
    """

    def __init__(
        self,
        root: str | Path,
        labels: str | list[str] | None = None,
        image_column: str | None = None,
        label_columns: dict[str, str] | None = None,
        label_names: str | Path | None = None,
        **options: Any,
    ) -> None:
        self.labels, self.image_column = labels, image_column
        self.label_columns, self.label_names = label_columns, label_names
        super().__init__(root, **options)

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """One row an image, file by file."""
        files = self._files()
        tables = [self._table(file) for file in files]
        found = [
            self._unpacked(file, column, len(table.rows)) for file, (table, column) in zip(files, tables, strict=True)
        ]
        self._copies = [copy for copy, _ in found]
        paths: list[str] = []
        places: list[npt.NDArray[np.int64]] = []
        parts: list[LabelRows] = []
        for number, (file, (table, _), (_, spans)) in enumerate(zip(files, tables, found, strict=True)):
            shown = file.relative_to(self.root).as_posix()
            names = np.array([f"{shown}/{row:07d}" for row in range(len(spans))], dtype=object)
            there = spans[:, 0] != NO_IMAGE
            for row in np.flatnonzero(~there).tolist():
                self.findings.bad(f"{shown} row {row + 1}", "it has no image")
            paths += names[there].tolist()
            places.append(np.column_stack([np.full(int(there.sum()), number), spans[there]]))
            own = ImageNames(names[there].tolist(), self.root)
            parts.append(self._rows(Table(file, table.rows.assign(**{PLACE: names})[there]), own))
        if not paths:
            raise DataError(f"data.labels: the files {listed(file.name for file in files)} hold no image.")
        parts = self._with_splits(parts, files)
        if self.label_names is not None:
            names_file = self._file(self.label_names)
            labels = {str(label) for part in parts for label in part.rows["label"].dropna().unique()}
            known = read_class_names(names_file, labels, self.findings)
            parts = rename_labels(parts, known, names_file.name, self.findings)
        samples, class_names = whole_images(parts, ImageNames(paths, self.root), self.findings)
        self._names = samples["path"].tolist()
        row_of = {path: row for row, path in enumerate(paths)}
        self._places = np.concatenate(places)[[row_of[path] for path in self._names]]  # (N, 3)
        return samples, class_names

    def stored_image(self, index: int) -> bytes:
        """Read from its place in the copy."""
        number, offset, size = self._places[index].tolist()
        return read_member(self._copies[number], Member(offset, size))

    def image_name(self, index: int) -> str:
        """The file and the row there."""
        return f"{self.root}/{self._names[index]}"

    def _files(self) -> list[Path]:
        given = [self.labels] if isinstance(self.labels, str) else self.labels
        if given is None:
            found = files_below(self.root, ".parquet", once=True) if self.root.is_dir() else ()
            files = sorted(found, key=lambda file: natural_key(file.as_posix()))
            if not files:
                raise DataError(
                    f"data.root: no *.parquet was found in {self.root}, which {contents(self.root)}. Expected tables with a "
                    "column of images."
                )
            return files
        files = []
        for name in given:
            places = [self.root / name, Path(name).expanduser()]
            file = next((place for place in places if place.is_file()), None)
            if file is None or not file.resolve().is_relative_to(self.root.resolve()):
                raise DataError(f"data.labels: there is no file {name} in {self.root}, which {contents(self.root)}.")
            files.append(self.root / file.resolve().relative_to(self.root.resolve()))
        return files

    def _table(self, file: Path) -> tuple[Table, str]:
        """The table of a file without its images, and the column of the images."""
        table, images = read_parquet(file)
        if self.image_column is not None:
            if self.image_column not in images:
                raise ConfigError(
                    f"data.image_column: {self.image_column!r} is no column of images of {file}. It has "
                    f"{listed(images) or 'none'}."
                )
            return table, self.image_column
        if not images:
            raise DataError(
                f"{file} has no column of images; its columns are {listed(map(str, table.rows.columns))}. If one names image "
                f"files, read it with --data ImageFolder --data.labels {file.name}."
            )
        if len(images) > 1:
            raise DataError(f"{file} has the image columns {listed(images)}; choose one with data.image_column.")
        return table, images[0]

    def _rows(self, table: Table, images: ImageNames) -> LabelRows:
        """The labels of a table whose column ``PLACE`` names the images."""
        if COLUMN in table.rows:
            table = one_row_each(table, self.findings)
        given = {"path": PLACE, **(self.label_columns or {})}
        columns = find_columns(table, images, "", given)
        if columns is None:
            raise not_recognised(table, PLACE)
        return label_rows(table, columns, "", bool(self.label_columns), self.findings)

    def _with_splits(self, parts: Sequence[LabelRows], files: Sequence[Path]) -> list[LabelRows]:
        """Rows that state no split have that of their file's name or folder, if these are an official one."""
        splits = [first_split([file.stem, *reversed(file.relative_to(self.root).parts[:-1])]) for file in files]
        if not one_of_each(splits) or any("split" in part.rows for part in parts):
            return list(parts)
        return [part.with_rows(part.rows.assign(split=split or "")) for part, split in zip(parts, splits, strict=True)]

    def _unpacked(self, file: Path, column: str, rows: int) -> tuple[Path, npt.NDArray[np.int64]]:
        """The copy of a file's images, made if there is none of this version of the file, and (N, 2) offset and size."""
        versions, _ = file_versions([str(file)])
        key = f"{file.resolve()}\0{column}\0{versions[0].tolist()}"
        name = f"parquet-{hashlib.sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"
        folder = cache_folder(self.root, self.cache_dir)
        copy, index = folder / f"{name}.images", folder / f"{name}.npz"
        with locked(folder, name):  # other processes of the run wait, then find it done
            known = read_arrays(index)
            if known is not None and copy.is_file() and _fits(known.get("places"), rows, copy.stat().st_size):
                return copy, known["places"]
            found: list[npt.NDArray[np.int64]] = []
            with progress_bar(f"copying the images of {file.name}", rows) as advance:
                write_atomically(copy, lambda target: found.append(copy_images(file, column, target, advance)))
            write_arrays(index, {"places": found[0]})
        return copy, found[0]

    def _file(self, given: str | Path) -> Path:
        places = [Path(given).expanduser(), self.root / given]
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            raise DataError(f"data.label_names: there is no file; searched {listed(places)}.")
        return file


def _fits(places: npt.NDArray[Any] | None, rows: int, size: int) -> bool:
    """Whether the places are of so many rows and end where the copy ends."""
    return places is not None and places.shape == (rows, 2) and int(places.sum(axis=1).max(initial=0)) == size
