"""Finds and reads the files that label images: which format they have, and which of several are meant."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datamodules.annotation_tables import Table
from datamodules.documents import read_json, read_xml, read_yaml
from datamodules.folder_names import split_in_path
from datamodules.folder_tree import Folder, files_below
from datamodules.image_names import ImageNames
from datamodules.label_formats.coco import is_coco, read_coco
from datamodules.label_formats.cvat import is_cvat, read_cvat
from datamodules.label_formats.label_studio import is_label_studio, read_label_studio
from datamodules.label_formats.labelme import is_labelme, read_labelme
from datamodules.label_formats.official_splits import DATASETS, find_dataset
from datamodules.label_formats.table_file import PARQUET, TABLE_SUFFIXES, read_table_file
from datamodules.label_formats.voc import is_voc, read_voc
from datamodules.label_formats.yolo import CLASS_FILES, is_yolo_config, read_yolo
from datamodules.label_rows import LabelRows, one_of_each
from datamodules.label_table import label_rows
from datamodules.table_columns import Columns, find_columns, not_recognised, path_column
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.data.sample_table import SPLITS
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.terminal.wording import listed, nearest_first

FORMATS = ("table", "coco", "yolo", "voc", "cvat", "label_studio", "labelme", "dataset")
"""Values of ``data.labels_format``; dataset is one with an official split in files of its own."""
OF_ONE_IMAGE = (".txt", ".json")
"""Suffixes of files that may be about one image, whose name they have: YOLO's and labelme's."""
SUFFIXES = (*TABLE_SUFFIXES, ".xml", ".yaml", ".yml")


@dataclass
class LabelFiles:
    """Reads the labels of the images below a folder.

    Attributes:
        tree: The folder.
        images: The images below it.
        problems: Where problems go.
        format: The user's ``data.labels_format``; None recognises it.
        columns: The user's ``data.label_columns``.
    """

    tree: Folder
    images: ImageNames
    problems: DataProblems
    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            raise ConfigError(
                f"data.labels_format: '{self.format}' is none of {listed(nearest_first(self.format, FORMATS))}."
            )

    @property
    def root(self) -> Path:
        """The data's root."""
        return self.images.root

    def read(self, place: Path) -> list[LabelRows]:
        """Read the labels of a file, or of the files in a folder.

        Raises:
            DataError: It has no labels, or files of several formats.
        """
        if not self.images.paths and place.suffix.lower() not in PARQUET:  # which may hold the images
            raise DataError(f"data.root: there is no image in {self.root} that {place} could label.")
        return [self._read_file(place)] if place.is_file() else self.read_folder(place)

    def _is_root(self, place: Path) -> bool:
        return place.resolve() == self.root.resolve()

    def _from_root(self, place: Path) -> str:
        """A folder's path from the root; empty for the root and for folders outside."""
        absolute, root = place.resolve(), self.root.resolve()
        path = absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else "."
        return "" if path == "." else path

    def _read_file(self, file: Path) -> LabelRows:
        kind, document = self.format, None
        if kind is None:
            kind, document = recognise(file)
        folder = self._from_root(file.parent)
        if kind == "coco":
            return read_coco(file, folder, self.problems, document)
        if kind == "label_studio":
            return read_label_studio(file, folder, self.problems)
        if kind == "cvat":
            return read_cvat(file, folder, self.images.paths, self.problems)
        if kind == "voc":
            return read_voc([file], self.root, self.problems)
        if kind == "labelme":
            return read_labelme([file], self.root, set(self.images.paths), self.problems)
        if kind == "yolo":
            return read_yolo(self.root, self.images.paths, file, self.problems)
        if kind == "table":
            table = read_table_file(file, self.problems)
            columns = find_columns(table, self.images, folder, self.columns)
            if columns is None:
                raise not_recognised(table, path_column(table, self.images, folder))
            return label_rows(table, columns, folder, bool(self.columns), self.problems)
        excel = " Save it as CSV." if file.suffix.lower() in (".xls", ".xlsx", ".ods") else ""
        raise DataError(
            f"data.labels: the format of {file} is not recognised.{excel} Tables ({', '.join(TABLE_SUFFIXES)}), COCO, Label Studio "
            "and labelme (.json), Pascal VOC and CVAT (.xml) and YOLO (data.yaml) are read; data.labels_format names the format."
        )

    def read_folder(self, place: Path) -> list[LabelRows]:
        """Read the labels of the files in a folder: of a known dataset, else annotations of one format, else tables.

        Raises:
            DataError: It has no labels, or files of several formats.
        """
        dataset = find_dataset(place)
        if dataset is not None and self.format in (None, "dataset"):
            self.problems.remark(f"{place} is {dataset.name}: its labels and official split are used.")
            rows = dataset.read(place, self.problems)
            return [LabelRows(rows.rows, rows.format, rows.unit, rows.file, self._from_root(place))]
        if self.format == "dataset":
            raise DataError(
                f"data.labels_format=dataset: {place} has the files of none of {listed(item.name for item in DATASETS)}."
            )
        if not place.is_dir():
            raise DataError(
                f"data.labels: there is no file or folder {place}. Name the file with the labels, or its folder."
            )
        folder = self.tree if self._is_root(place) else Folder(str(place))
        files = label_files_in(folder)
        kinds = formats_of(files) | dict.fromkeys(labelme_files_in(folder), "labelme")
        if self.format is not None:
            kinds = {file: kind for file, kind in kinds.items() if kind == self.format}
        found = annotation_formats(kinds, place)
        if len(found) > 1:
            several = listed(file.relative_to(place) for file, kind in kinds.items() if kind in found)
            raise DataError(
                f"data.labels: {place} holds annotations in several formats ({several}). Choose with data.labels_format: "
                f"{', '.join(found)}."
            )
        if found:
            return self._read_annotations(place, found[0], [file for file in kinds if kinds[file] == found[0]])
        if self.format in (None, "yolo") and (names := _yolo_names_near(place, self.root)) is not None:
            return [read_yolo(self.root, self.images.paths, names, self.problems)]
        tables = self.labelling_tables([file for file in files if kinds.get(file) == "table"])
        return self.read_tables(tables, place)

    def _read_annotations(self, place: Path, kind: str, files: Sequence[Path]) -> list[LabelRows]:
        if kind == "voc":
            return [read_voc(files, self.root, self.problems)]
        if kind == "labelme":
            return [read_labelme(files, self.root, set(self.images.paths), self.problems)]
        if kind == "yolo":
            return [read_yolo(self.root, self.images.paths, files[0], self.problems)]
        splits = [split_in_path(_shown(file, place)) for file in files]
        of_folders = len({file.parent for file in files}) == len(files)
        if len(files) > 1 and not of_folders and not (one_of_each(splits) and len(set(splits)) == len(splits)):
            names = listed((_shown(file, place) for file in files), 5)
            raise DataError(
                f"data.labels: {names} hold annotations of the same images. Choose one with data.labels=<file>."
            )
        parts = [self._read_file(file) for file in files]
        return _with_file_splits(parts, files, place)

    def labelling_tables(
        self, files: Sequence[Path], unreadable: list[DataError] | None = None
    ) -> dict[Path, tuple[Table, Columns]]:
        """The tables among files whose columns name images and labels.

        Args:
            files: The files.
            unreadable: Collects the errors of those that cannot be read; None: they are raised.
        """
        found: dict[Path, tuple[Table, Columns]] = {}
        for file in files:
            own = DataProblems()
            try:
                table = read_table_file(file, own)
                columns = find_columns(table, self.images, self._from_root(file.parent), self.columns)
            except ConfigError:
                continue  # the user's columns are those of another table
            except DataError as error:
                if unreadable is None:
                    raise
                if file.suffix.lower() != ".txt":  # which need not be a table
                    unreadable.append(error)
                continue
            if columns is not None:
                self.problems.problems += own.problems
                found[file] = table, columns
        return found

    def read_tables(self, tables: Mapping[Path, tuple[Table, Columns]], place: Path) -> list[LabelRows]:
        """The rows of one table, or of several that are parts of an official split.

        Raises:
            DataError: There is none, or it is not clear which is meant.
        """
        if not tables:
            raise DataError(
                f"data.labels: no file in {place} labels the images. Name a file, and if it is a table its columns with "
                "data.label_columns={path: <column>, label: <column>}."
            )
        splits = [split_in_path(_shown(file, place)) for file in tables]
        if len(tables) > 1 and not (one_of_each(splits) and len(set(splits)) == len(splits)):
            names = listed(_shown(file, place) for file in tables)
            raise DataError(f"data.labels: {names} all label images of {place}. Choose one with data.labels=<file>.")
        parts = [
            label_rows(table, columns, self._from_root(file.parent), bool(self.columns), self.problems)
            for file, (table, columns) in tables.items()
        ]
        return _with_file_splits(parts, list(tables), place)


def recognise(file: Path, one_of_many: bool = False) -> tuple[str | None, Any]:
    """The format of a file by its content (None: none that is known), and its document if it was read whole.

    Args:
        file: The file.
        one_of_many: The user did not name it: a file that has only a part of a format is none of it.
    """
    suffix = file.suffix.lower()
    try:
        if suffix == ".json":
            document = read_json(file)
            if is_coco(document):
                return ("coco" if is_coco(document, whole=True) or not one_of_many else None), document
            if is_labelme(document):
                return "labelme", None
            return ("label_studio" if is_label_studio(document) else "table"), None
        if suffix == ".xml":
            root = read_xml(file)
            return ("cvat" if is_cvat(root) else "voc" if is_voc(root) else None), None
        if suffix in (".yaml", ".yml"):
            return ("yolo" if is_yolo_config(read_yaml(file)) else None), None
    except DataError:
        return _by_suffix(file), None  # reading it again reports what is wrong
    if file.name in CLASS_FILES:
        return "yolo", None
    return ("table" if suffix in TABLE_SUFFIXES else None), None


def formats_of(files: Sequence[Path]) -> dict[Path, str]:
    """The format of each file that has one; XML files of a folder have that of the first."""
    kinds: dict[Path, str] = {}
    of_folder: dict[Path, str | None] = {}
    for file in files:
        if file.suffix.lower() != ".xml":
            kind = recognise(file, one_of_many=True)[0]
        elif file.parent in of_folder:
            kind = of_folder[file.parent]
        else:
            kind = of_folder[file.parent] = recognise(file, one_of_many=True)[0]
        if kind is not None:
            kinds[file] = kind
    return kinds


def _by_suffix(file: Path) -> str | None:
    """The likely format of a damaged file."""
    start = file.read_bytes()[:2000] if file.is_file() else b""
    start = start.removeprefix(codecs.BOM_UTF8)
    if file.suffix.lower() == ".xml":
        return "cvat" if b"<annotations" in start else "voc"
    if file.suffix.lower() == ".json":
        return "coco" if b'"images"' in start or b'"annotations"' in start else "table"
    return None


def label_files_in(folder: Folder, deep: bool = True) -> list[Path]:
    """The files in a folder that may hold labels of several images, in order of their names; deep: and in its folders."""
    found: list[Path] = []
    for place in (folder, *(folder.folders if deep else ())):
        names = sorted(name for name, _ in place.skipped if Path(name).suffix.lower() in SUFFIXES)
        found += [Path(place.place, name) for name in names if not name.startswith(".") and not _says_nothing(name)]
    if deep and any(file.suffix.lower() in OF_ONE_IMAGE for file in found):
        stems = {path.rpartition("/")[2].rpartition(".")[0] for path in folder.image_paths()}
        found = [file for file in found if file.suffix.lower() not in OF_ONE_IMAGE or file.stem not in stems]
    return found


def labelme_files_in(folder: Folder) -> list[Path]:
    """The JSON files in a folder and its folders that are called as an image, where the first of them is labelme's."""
    found: list[Path] = []
    stems: set[str] = set()
    for place in folder.all_folders():
        names = sorted(name for name, _ in place.skipped if Path(name).suffix.lower() == ".json")
        if names and not stems:
            stems = {path.rpartition("/")[2].rpartition(".")[0] for path in folder.image_paths()}
        own = [Path(place.place, name) for name in names if Path(name).stem in stems]
        if own and recognise(own[0], one_of_many=True)[0] == "labelme":
            found += own
    return found


def _says_nothing(name: str) -> bool:
    """Whether a file is about the data, or holds the invented labels of a form that is to be filled in."""
    return name.lower().startswith(("readme", "license", "licence", "sample_submission", "samplesubmission"))


def annotation_formats(kinds: Mapping[Path, str], place: Path) -> list[str]:
    """The formats of files that are no tables; not YOLO's for the data.yaml of a set of class folders."""
    found = [kind for kind in FORMATS if kind != "table" and kind in kinds.values()]
    return [kind for kind in found if kind != "yolo" or _has_yolo_labels(place)]


def _yolo_names_near(place: Path, root: Path) -> Path | None:
    """The class names of a folder labels of YOLO's text files, which lie above it; None if it is no such folder.

    Raises:
        DataError: It is one, and there are no names.
    """
    if place.name.lower() != "labels" or not _has_yolo_labels(place):
        return None
    places = list(dict.fromkeys((place, place.parent, root)))
    names = ("data.yaml", "data.yml", "dataset.yaml", *CLASS_FILES)
    found = next((file for folder in places for name in names if (file := folder / name).is_file()), None)
    if found is None:
        raise DataError(
            f"data.labels: {place} holds YOLO's text files, and the class names are missing: expected data.yaml or "
            f"classes.txt in {listed(places)}."
        )
    return found


def _has_yolo_labels(place: Path) -> bool:
    """Whether there is a text file of an image below a folder."""
    return any(file.name not in CLASS_FILES and not _says_nothing(file.name) for file in files_below(place, ".txt"))


def _with_file_splits(parts: Sequence[LabelRows], files: Sequence[Path], place: Path) -> list[LabelRows]:
    """Rows that state no split have that of their file or its folder, if all these are an official one."""
    splits = [split_in_path(_shown(file, place)) for file in files]
    if not one_of_each(splits) or any("split" in part.rows for part in parts):
        return list(parts)
    labelled = sorted(
        zip(parts, splits, strict=True), key=lambda pair: SPLITS.index(pair[1]) if pair[1] else len(SPLITS)
    )
    return [part.with_rows(part.rows.assign(split=split or "")) for part, split in labelled]


def _shown(file: Path, place: Path) -> str:
    return file.relative_to(place).as_posix() if file.is_relative_to(place) else file.name
