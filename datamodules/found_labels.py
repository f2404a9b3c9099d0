"""Decides what labels the images of a folder if the user does not say: its sub-folders, or a file in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from datamodules.folder_layout import find_layout
from datamodules.folder_names import says_images, split_name, why_no_classes
from datamodules.folder_tree import Folder
from datamodules.image_names import ImageNames, composed
from datamodules.label_files import LabelFiles, annotation_formats, formats_of, label_files_in, labelme_files_in
from datamodules.label_formats.official_splits import find_dataset, refuse_others
from datamodules.label_formats.table_file import TABLE_SUFFIXES
from datamodules.label_rows import LabelRows
from datamodules.table_columns import NAMES
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import listed, nfc

MOST_FOLDERS, MOST_TABLES = 50, 20
"""That are looked into for a dataset or for labels where nobody named one."""
ALIKE = 0.95
"""Share of the labels of a table that are the names of the folders, if the two say the same."""


def find_labels(files: LabelFiles, without: Sequence[Path]) -> list[LabelRows]:
    """The labels of files in the data's root, if its folders are not the classes; nothing if they are.

    Args:
        files: Reads the files.
        without: Files that label nothing (``data.metadata``).

    Raises:
        DataError: Folders and files label the same images differently.
    """
    root, problems = files.root, files.problems
    if not files.images.paths:
        return []
    if find_dataset(root) is not None:
        return files.read(root)
    refuse_others(root)
    for folder in files.tree.folders[:MOST_FOLDERS]:
        if (inner := find_dataset(Path(folder.place))) is not None:
            raise DataError(f"data.root: {root} is one level too high for {inner.name}: use {folder.place}.")
    above = root.resolve().parent
    dataset = find_dataset(above)
    if dataset is not None and root.resolve().name in dataset.files:
        problems.remark(f"{root} is a folder of {dataset.name}. To use its official split, set data.root to {above}.")
    others = {file.resolve() for file in without}
    candidates = [file for file in label_files_in(files.tree) if file.resolve() not in others]
    classes = class_folders(files.tree)
    of_images = labelme_files_in(files.tree)
    if not candidates and not of_images:
        if not classes and not any(folder.has_images() for folder in files.tree.folders):
            _name_table_above(files)
        return []
    kinds = formats_of(candidates) | dict.fromkeys(of_images, "labelme")
    annotations = annotation_formats(kinds, root)
    if annotations:
        named = listed((file.relative_to(root) for file, kind in kinds.items() if kind in annotations), 3)
        if not classes:
            problems.remark(f"{root}: labels are read from {named} (data.labels).")
            return files.read(root)
        problems.remark(f"{root}: the class folders are the labels; {named} is not used. To use it, set data.labels.")
        return []
    unreadable: list[DataError] = []
    trial = replace(files, problems=DataProblems())  # what is wrong in a file that is not used is nobody's concern
    tables = trial.labelling_tables([file for file in candidates if kinds.get(file) == "table"], unreadable)
    if classes:  # a table of other facts about the images is common beside them
        tables = {
            file: found for file, found in tables.items() if (found[1].label or "").strip().lower() in NAMES["label"]
        }
    if not tables:
        if unreadable and not classes:
            raise unreadable[0]
        return []
    if len(tables) > 1 and classes:
        tables = {file: found for file, found in tables.items() if not _says_the_same(trial, file)}
        if not tables:
            return []
    parts = trial.read_tables(tables, root)
    if all(_agree(part, files.images) for part in parts):
        return []
    names = listed((file.relative_to(root) for file in tables), 3)
    if classes:
        labels = sorted({str(label) for part in parts for label in part.rows["label"].dropna()})
        raise DataError(
            f"data.root: {root} has the folders {listed(classes, 4)}, and {names} labels the images in them {listed(labels, 4)}. "
            f"Which are the classes? Set data.labels={next(iter(tables)).relative_to(root)} for these labels, or "
            "data.classes_from=folder for the folders."
        )
    problems.remark(f"{root}: labels are read from {names} (data.labels).")
    problems.add(trial.problems)
    return parts


def class_folders(tree: Folder) -> list[str]:
    """The folders that can be classes: several that hold images, not named as splits, parts or folders of all images."""
    try:
        folders = find_layout(tree).class_folders
    except DataError:  # several sets of split folders
        return []
    names = sorted({nfc(folder.name) for folder in folders})
    likely = [name for name in names if not says_images(name) and split_name(name) is None]
    return [] if len(likely) < 2 or why_no_classes(likely) else likely


def _name_table_above(files: LabelFiles) -> None:
    """Say that a table beside the root labels the images in it, if one does.

    Raises:
        DataError: One does.
    """
    above = files.root.resolve().parent
    tables = [file for file in label_files_in(Folder(str(above)), deep=False) if file.suffix.lower() in TABLE_SUFFIXES]
    if len(tables) > MOST_TABLES or not files.images.paths:
        return
    trial = replace(files, problems=DataProblems())
    found = trial.labelling_tables([file for file in tables if formats_of([file]) == {file: "table"}], [])
    if found:
        raise DataError(
            f"data.root: the images of {files.root} are in no class folders, and {listed(found, 3)} beside it labels them. "
            f"Set data.labels to {next(iter(found))}."
        )


def _agree(part: LabelRows, images: ImageNames) -> bool:
    """Whether labels divide the images as folders do: by the same names, or one label for each folder."""
    places = images.locate(part.rows["name"], part.folder).places
    found = places >= 0
    if not found.any():
        return False
    labels = composed(part.rows["label"].fillna("").astype("str")[found].str.casefold().tolist())
    folders = [composed(images.paths[place].casefold().split("/")[:-1]) for place in places[found].tolist()]
    if np.mean([label in names for label, names in zip(labels, folders, strict=True)]) >= ALIKE:
        return True
    for depth in range(min(map(len, folders))):
        pairs = {(label, names[depth]) for label, names in zip(labels, folders, strict=True)}
        if len(pairs) > 1 and len({label for label, _ in pairs}) == len({name for _, name in pairs}) == len(pairs):
            return True
    return False


def _says_the_same(files: LabelFiles, file: Path) -> bool:
    return all(_agree(part, files.images) for part in files.read(file))


def given_place(given: str | Path, root: Path) -> Path:
    """The file or folder of ``data.labels``: a file relative to the working directory or the root, a folder first to the root.

    Raises:
        DataError: It is not there.
    """
    places: Sequence[Path] = [Path(given).expanduser(), root / given]
    if places[1].is_dir():
        return places[1]
    for place in places:
        if place.exists():
            return place
    raise DataError(f"data.labels: there is no file or folder; searched {listed(places)}.")
