"""A second table that gives labels their names: numbers, codes or synsets to words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from datamodules.documents import read_json, read_text, read_yaml
from datamodules.label_formats.table_file import read_table_file
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import listed, plural

SYNSET, SYNSET_NAME = re.compile(r"n\d{8}"), re.compile(r"(n\d{8})\s+(\S.*)")
"""A class folder of ImageNet, and a line that names it."""


def names_of_folders(folders: Sequence[str], file: Path, problems: DataProblems) -> list[str]:
    """The names that a file gives to class folders, in their order; equal names are told apart by their folders.

    Args:
        folders: The names of the class folders.
        file: See ``read_class_names``.
        problems: Where folders go that the file does not name.
    """
    names = read_class_names(file, folders, problems)
    if unnamed := [folder for folder in folders if folder not in names]:
        problems.problem(
            f"data.label_names: {file.name} has no name for {plural(len(unnamed), 'class folder')}: {listed(unnamed, 5)}"
        )
    found = [names.get(folder, folder) for folder in folders]
    counts = Counter(found)
    return [f"{name} ({folder})" if counts[name] > 1 else name for name, folder in zip(found, folders, strict=True)]


def remark_on_readme(folders: Sequence[str], root: Path, problems: DataProblems) -> None:
    """Say that a README in the root has the names of class folders that are WordNet IDs, if it has."""
    file = root / "README.txt"
    if not (folders and all(SYNSET.fullmatch(folder) for folder in folders) and file.is_file()):
        return
    named = {found[1] for line in read_text(file).split("\n") if (found := SYNSET_NAME.fullmatch(line.strip()))}
    if named >= set(folders):
        problems.remark(f"{file} has the names of the classes. To use them, set data.label_names=README.txt.")


def read_class_names(file: Path, labels: Collection[str], problems: DataProblems) -> dict[str, str]:
    """The name of each label.

    The file is JSON or YAML (a mapping, or a list of names), a CSV or TSV table with a column that holds the labels and
    one with the names, or a text with a name a line: ``<label> <name>``, or the name alone. Names alone are numbered
    from 0, or from 1 if the labels are. If labels are WordNet IDs, other lines of a text may say anything, as in the README
    of ImageNet-R.

    Args:
        file: The file.
        labels: The labels in use.
        problems: Where problems go.

    Raises:
        DataError: It is not such a table.
    """
    suffix = file.suffix.lower()
    if suffix in (".json", ".yaml", ".yml"):
        document = read_json(file) if suffix == ".json" else read_yaml(file)
        if isinstance(document, dict) and isinstance(document.get("names"), dict | list):
            document = document["names"]
        if isinstance(document, list) and document and all(isinstance(name, str) for name in document):
            return _numbered(file, document, labels)
        if isinstance(document, dict) and document and not any(isinstance(v, dict | list) for v in document.values()):
            names = {str(key): str(value).strip() for key, value in document.items()}
            return names if not _turned(names, labels) else {name: key for key, name in names.items()}
        raise DataError(f"data.label_names: {file} must hold a mapping of labels to names, or a list of names.")
    if suffix in (".csv", ".tsv"):
        return _of_table(file, labels, problems)
    lines = [line.strip() for line in read_text(file).split("\n") if line.strip()]
    if not lines:
        raise DataError(f"data.label_names: {file} is empty. Expected a line for each class.")
    if any(SYNSET.fullmatch(label) for label in labels):
        named = {found[1]: found[2] for line in lines if (found := SYNSET_NAME.fullmatch(line))}
        if set(labels) & named.keys():
            return named
    pairs = [line.split(None, 1) for line in lines]
    if all(len(pair) == 2 for pair in pairs) and set(labels) & {pair[0] for pair in pairs}:
        return {pair[0]: pair[1].strip() for pair in pairs}
    return _numbered(file, lines, labels)


def _turned(names: dict[str, str], labels: Collection[str]) -> bool:
    """Whether the mapping leads from names to labels."""
    return not set(labels) & names.keys() and set(labels) <= set(names.values())


def _of_table(file: Path, labels: Collection[str], problems: DataProblems) -> dict[str, str]:
    table = read_table_file(file, problems)
    rows = table.rows.astype("str").apply(lambda column: column.str.strip())
    shares = {str(name): len(set(labels) & set(rows[name])) for name in rows.columns}
    key = max(shares, key=lambda name: shares[name], default=None)
    if key is None or shares[key] == 0:
        if len(rows.columns) == 1:
            return _numbered(file, rows.iloc[:, 0].tolist(), labels)
        raise DataError(
            f"data.label_names: no column of {file} has the labels {listed(sorted(labels), 3)}. It has the columns "
            f"{listed(rows.columns)}."
        )
    others = [str(name) for name in rows.columns if str(name) != key]
    if len(others) > 1:
        usual = [
            name for name in others if name.lower() in ("name", "class_name", "label_name", "category", "description")
        ]
        others = usual or others
    if len(others) != 1:
        raise DataError(
            f"data.label_names: {file} needs a column with the labels ('{key}') and one with their names; found "
            f"{listed(rows.columns)}. Remove the other columns, or call the right one 'name'."
        )
    if (again := rows[key].duplicated()).any():
        problems.problem(f"{file.name}: it names the label {rows.loc[again, key].iloc[0]!r} twice")
    return dict(zip(rows[key], rows[others[0]], strict=True))


def _numbered(file: Path, names: list[str], labels: Collection[str]) -> dict[str, str]:
    """Names that are numbered by their position.

    Raises:
        DataError: The labels are no numbers of them, or it is not clear whether they count from 0 or 1.
    """
    wrong = [label for label in labels if not label.isdecimal() or int(label) > len(names)]
    if wrong or not labels:
        raise DataError(
            f"data.label_names: {file} has {len(names)} names and no labels, so labels must be numbers of them; found "
            f"{listed(sorted(wrong), 3)}."
        )
    numbers = {int(label) for label in labels}
    if 0 in numbers and len(names) in numbers:
        raise DataError(f"data.label_names: {file} has {len(names)} names; labels are numbers from 0 to {len(names)}.")
    if 0 not in numbers and len(names) not in numbers:
        raise DataError(
            f"data.label_names: neither 0 nor {len(names)} is a label, so it is not clear whether the {len(names)} names in "
            f"{file} count from 0 or from 1. Write the label before each name."
        )
    first = 0 if 0 in numbers else 1
    return {str(number): name.strip() for number, name in enumerate(names, start=first)}
