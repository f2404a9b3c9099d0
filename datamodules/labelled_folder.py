"""Reads a folder of images that files or names label into a sample table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from datamodules.class_name_table import read_class_names
from datamodules.folder_tree import Folder, read_tree
from datamodules.found_labels import find_labels, given_place
from datamodules.gitw_tree import say_chosen_classes
from datamodules.image_names import ImageNames
from datamodules.label_files import LabelFiles
from datamodules.label_formats.official_splits import DATASETS
from datamodules.label_pattern import read_pattern
from datamodules.label_rows import LabelRows
from datamodules.labelled_samples import boxes, rename_labels, whole_images
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.terminal.wording import listed

TEXTS = (".txt", ".mat")
FILES_OF = {
    **{"YOLO": (".txt", ".yaml", ".yml"), "Pascal VOC": (".xml", ".txt"), "COCO": (".json",), "labelme": (".json",)},
    **dict.fromkeys((item.name for item in DATASETS), TEXTS),
}
"""Suffixes of the files of formats that have several."""
FOLDERS = "folders"
"""The value of ``data.labels`` that takes the folders for the classes, whatever files say."""


@dataclass(frozen=True)
class LabelOptions:
    """The options of a datamodule that say what labels its images; see ``ImageFolder``."""

    labels: str | Path | None = None
    labels_format: str | None = None
    label_columns: Mapping[str, str] | None = None
    label_names: str | Path | None = None
    label_pattern: str | None = None

    def __post_init__(self) -> None:
        if self.label_pattern is not None and self.labels is not None:
            raise ConfigError("data.label_pattern and data.labels both say what labels the images. Use one of them.")
        if self.labels == FOLDERS and (self.label_columns or self.labels_format):
            raise ConfigError("data.labels=folders reads no file: remove data.label_columns and data.labels_format.")


def read_labelled(
    tree: Folder, root: Path, options: LabelOptions, problems: DataProblems, metadata: str | Path | None = None
) -> tuple[pd.DataFrame, list[str]] | None:
    """The sample table of whole images and the class names; None if the folders are the classes.

    Args:
        tree: The folder.
        root: Where it lies.
        options: What labels the images.
        problems: Where problems go.
        metadata: A table that labels nothing.
    """
    images = ImageNames(list(tree.image_paths()), root)
    without = [] if metadata is None else [Path(metadata).expanduser(), root / metadata]
    parts = _read(tree, images, options, problems, without)
    if not parts:
        return None
    _report_skipped(tree, parts, problems)
    return whole_images(_named(parts, options, root, problems), images, problems)


def read_labelled_boxes(
    root: Path, options: LabelOptions, classes: Sequence[str] | None, problems: DataProblems
) -> tuple[pd.DataFrame, list[str]]:
    """The sample table of the boxes in images, and the class names.

    Args:
        root: The folder of the images.
        options: What labels the images.
        classes: Those to read; None: all.
        problems: Where problems go.

    Raises:
        DataError: Nothing labels the images.
    """
    tree = read_tree(root, "Expected the folder of the images")
    images = ImageNames(list(tree.image_paths()), root)
    parts = _read(tree, images, options, problems, [])
    if not parts:
        raise DataError(f"data.labels: no file in {root} has boxes. Name the file of annotations.")
    parts = _named(parts, options, root, problems)
    if classes is not None:
        say_chosen_classes(classes, [str(label) for part in parts for label in part.rows["label"].dropna()], problems)
        parts = [part.take(part.rows["label"].isin(list(classes))) for part in parts]
    _report_skipped(tree, parts, problems)
    return boxes(parts, images, problems)


def _read(
    tree: Folder, images: ImageNames, options: LabelOptions, problems: DataProblems, without: Sequence[Path]
) -> list[LabelRows]:
    if options.label_pattern is not None:
        return [read_pattern(options.label_pattern, images, problems)]
    if options.labels == FOLDERS:
        return []
    files = LabelFiles(tree, images, problems, options.labels_format, options.label_columns or {})
    if options.labels is not None:
        return files.read(given_place(options.labels, root=images.root))
    if options.label_columns or options.labels_format:
        return files.read(images.root)
    return find_labels(files, without)


def names_file(given: str | Path, root: Path) -> Path:
    """The file of ``data.label_names``, relative to the working directory or the root.

    Raises:
        DataError: It is not there.
    """
    places = [Path(given).expanduser(), root / given]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise DataError(f"data.label_names: there is no file; searched {listed(places)}.")
    return file


def _named(parts: list[LabelRows], options: LabelOptions, root: Path, problems: DataProblems) -> list[LabelRows]:
    """The rows with the names of the second table, if there is one."""
    if options.label_names is None:
        return parts
    file = names_file(options.label_names, root)
    labels = {str(label) for part in parts for label in part.rows["label"].dropna().unique()}
    return rename_labels(parts, read_class_names(file, labels, problems), file.name, problems)


def _report_skipped(tree: Folder, parts: Sequence[LabelRows], problems: DataProblems) -> None:
    """Add the files that are neither images nor labels."""
    suffixes = {suffix for part in parts for suffix in FILES_OF.get(part.format, ())}
    names = {part.file.name for part in parts}
    for folder in tree.all_folders():
        for name, reason in folder.skipped:
            if name not in names and Path(name).suffix.lower() not in suffixes:
                problems.skip(folder.path_of(name), reason)
