"""YOLO: a text file for each image, in a folder labels beside images, and a data.yaml with the class names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datamodules.documents import read_text, read_yaml
from datamodules.folder_names import first_split
from datamodules.folder_tree import files_below
from datamodules.image_names import SEVERAL, ImageNames
from datamodules.label_rows import LabelRows, check_box, make_rows, one_of_each
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError
from lightning_vision.images.decoding import read_header
from lightning_vision.terminal.wording import listed

CLASS_FILES = ("classes.txt", "obj.names", "_darknet.labels")
"""Class names by line, where there is no data.yaml."""


def is_yolo_config(document: Any) -> bool:
    """Whether a YAML document is a data.yaml."""
    return isinstance(document, dict) and isinstance(document.get("names"), list | dict)


def read_class_names(file: Path) -> dict[int, str]:
    """The class names of a data.yaml (a list or a mapping), or of a text file with one a line.

    Raises:
        DataError: It states none.
    """
    if file.suffix.lower() not in (".yaml", ".yml"):
        lines = read_text(file).split("\n")
        return {number: line.strip() for number, line in enumerate(lines) if line.strip()}
    document = read_yaml(file)
    given = document.get("names") if isinstance(document, dict) else None
    names = dict(enumerate(given)) if isinstance(given, list) else given
    if not isinstance(names, dict) or not names:
        raise DataError(
            f"{file}: expected 'names', a list of class names or a mapping from numbers, found {given!r:.80}."
        )
    found: dict[int, str] = {}
    for number, name in names.items():
        if not str(number).isdecimal() or not str(name).strip():
            raise DataError(f"{file}: 'names' has {number!r}: {name!r}; expected a number from 0 and a name.")
        found[int(number)] = str(name).strip()
    count = document.get("nc")
    if isinstance(count, int) and count != len(found):
        raise DataError(f"{file}: nc is {count}, and there are {len(found)} names. Correct one of them.")
    if repeated := sorted({name for name in found.values() if list(found.values()).count(name) > 1}):
        raise DataError(f"{file}: 'names' has {listed(repeated)} twice. Rename one of them.")
    return found


def label_file_of(image: str) -> list[str]:
    """Where the text file of an image may be, by its path: the last folder images becomes labels, or beside the image."""
    stem = image.rpartition(".")[0] or image
    parts = stem.split("/")
    places = [f"{stem}.txt"]
    if "images" in parts[:-1]:
        at = len(parts) - 2 - parts[-2::-1].index("images")
        places.insert(0, "/".join([*parts[:at], "labels", *parts[at + 1 :]]) + ".txt")
    else:
        places.insert(0, "/".join(["labels", *parts]) + ".txt")
        places.insert(1, "/".join([*parts[:-1], "labels", parts[-1]]) + ".txt")
    return places


def read_yolo(root: Path, images: Sequence[str], names_file: Path, problems: DataProblems) -> LabelRows:
    """Read the text files of images: a row for each line, and one without label for an image without lines.

    A line is ``class x y w h``, with the centre and size as shares of the image, or ``class x1 y1 x2 y2 ...``, the
    outline of the object (a box around it is taken). Key points behind a box, which ``kpt_shape`` of data.yaml announces,
    are left out. The split is that of the folders or lists that data.yaml names, whose other images are not used, or of
    the folder.

    Args:
        root: The data's root.
        images: The images, by path from it.
        names_file: data.yaml, or a text file with the class names.
        problems: Where problems go.
    """
    names, key_points = read_class_names(names_file), _key_point_values(names_file)
    found: list[dict[str, Any]] = []
    stated = _stated_splits(names_file, root, images, problems)
    splits = stated or [_split_of(path) for path in images]
    official = one_of_each(splits)
    files = {file.relative_to(root).as_posix() for file in files_below(root, ".txt")}
    for path, split in zip(images, splits, strict=True):
        if stated and split is None:
            continue  # of no part of the data
        file = next((place for place in label_file_of(path) if place in files), None)
        row: dict[str, Any] = {"name": path, "label": None, "file": file or path, "number": 0}
        if official:
            row["split"] = split or ""
        lines = [] if file is None else _boxes(root / path, root / file, file, names, key_points, problems)
        found += [row | line for line in lines] or [row]
    return LabelRows(make_rows(found, boxes=True), "YOLO", "line", names_file)


def _key_point_values(file: Path) -> int:
    """How many values of key points stand behind each box, by the ``kpt_shape`` of a data.yaml; 0 if it states none.

    Raises:
        DataError: It is no pair of numbers.
    """
    document = read_yaml(file) if file.suffix.lower() in (".yaml", ".yml") else None
    shape = document.get("kpt_shape") if isinstance(document, dict) else None
    if shape is None:
        return 0
    if not isinstance(shape, list) or len(shape) != 2 or not all(isinstance(side, int) and side > 0 for side in shape):
        raise DataError(f"{file}: expected 'kpt_shape' as [key points, values of each], found {shape!r:.80}.")
    return int(shape[0] * shape[1])


def _stated_splits(file: Path, root: Path, images: Sequence[str], problems: DataProblems) -> list[str | None] | None:
    """The split of each image by the folders or lists that a data.yaml names; None if these are no official split."""
    document = read_yaml(file) if file.suffix.lower() in (".yaml", ".yml") else None
    if not isinstance(document, dict):
        return None
    splits: list[str | None] = [None] * len(images)
    for split in ("train", "val", "test"):
        entries = document.get(split) or []
        for entry in entries if isinstance(entries, list) else [entries]:
            named = _named_by(str(entry), file, root, images, problems)
            again = [path for path, mine, there in zip(images, splits, named, strict=True) if there and mine]
            if again:
                problems.remark(
                    f"{file.name}: {split} is {entry}, which names images of another part too; it is not used."
                )
                continue
            splits = [split if there else mine for mine, there in zip(splits, named, strict=True)]
    return splits if one_of_each(splits) else None


def _named_by(entry: str, file: Path, root: Path, images: Sequence[str], problems: DataProblems) -> list[bool]:
    """Which images a folder or a list of a data.yaml names; its path may start on another machine."""
    parts = [part for part in entry.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    lists = [place / "/".join(parts) for place in (file.parent, root)]
    if entry.endswith(".txt"):
        found = next((place for place in lists if place.is_file()), None)
        return [False] * len(images) if found is None else _in_list(found, root, images, problems)
    folders = [path.split("/")[:-1] for path in images]
    for start in range(len(parts)):
        tail = parts[start:]
        named = [folder[: len(tail)] == tail for folder in folders]
        if any(named):
            return named
    return [False] * len(images)


def _in_list(file: Path, root: Path, images: Sequence[str], problems: DataProblems) -> list[bool]:
    """Which images a list names, one a line."""
    lines = pd.Series([line.strip() for line in read_text(file).split("\n") if line.strip()], dtype="str")
    folder = file.parent.relative_to(root).as_posix() if file.is_relative_to(root) else "."
    places = ImageNames(images, root).locate(lines, "" if folder == "." else folder).places
    for name in lines[places == SEVERAL].unique():
        problems.problem(f"{file.name}: several images are called {name!r}; write their folder too")
    named: list[bool] = np.isin(np.arange(len(images)), places).tolist()
    return named


def _split_of(path: str) -> str | None:
    return first_split(path.split("/")[:-1])


def _boxes(
    image: Path, file: Path, shown: str, names: Mapping[int, str], key_points: int, problems: DataProblems
) -> list[dict[str, Any]]:
    lines = [(number, line.split()) for number, line in enumerate(read_text(file).split("\n"), start=1) if line.strip()]
    if not lines:
        return []
    try:
        height, width = read_header(image).size
    except DataError:
        return []  # the inspection of the images reports it
    found: list[dict[str, Any]] = []
    for number, fields in lines:
        place = f"{shown} line {number}"
        try:
            values = np.array([float(field) for field in fields[1:]])
            values = values[:4] if key_points and len(values) == 4 + key_points else values
        except ValueError:
            values = np.empty(0)
        if not fields[0].isdecimal() or len(values) < 4 or len(values) % 2 or not np.isfinite(values).all():
            problems.problem(f"{place}: expected <class> <x> <y> <w> <h>, found {' '.join(fields)[:80]!r}")
            continue
        if int(fields[0]) not in names:
            problems.problem(f"{place}: class {fields[0]} is not among the {len(names)} names, which count from 0")
            continue
        if (values < -0.01).any() or (values > 1.01).any():
            problems.problem(f"{place}: expected shares of the image, from 0 to 1, found {' '.join(fields[1:])[:80]!r}")
            continue
        corners = np.round(_corners(values) * np.array([width, height, width, height]), 6)
        if check_box(corners.tolist(), place, problems):
            sides = dict(zip(("x1", "y1", "x2", "y2"), corners.tolist(), strict=True))
            found.append({"label": names[int(fields[0])], "number": number, **sides})
    return found


def _corners(values: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """x1, y1, x2, y2 as shares of the image, of a box by centre and size or of an outline."""
    if len(values) == 4:
        x, y, w, h = values
        return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return np.array([values[::2].min(), values[1::2].min(), values[::2].max(), values[1::2].max()])
