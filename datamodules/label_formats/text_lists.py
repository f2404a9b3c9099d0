"""Texts with a record a line, as datasets of the field list their images."""

from __future__ import annotations

from pathlib import Path

from datamodules.documents import read_text
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError


def records(file: Path, fields: int, problems: DataProblems) -> list[tuple[int, list[str]]]:
    """Lines of so many fields separated by blanks (the last may hold blanks), with their numbers from 1."""
    found = []
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.split(None, fields - 1)
        if len(parts) != fields:
            problems.problem(f"{file.name} line {number}: expected {fields} fields, found {line.strip()[:60]!r}")
        else:
            found.append((number, [part.strip() for part in parts]))
    if not found:
        raise DataError(f"{file} has no lines that can be used. The file may be damaged; download it again.")
    return found


def pairs(file: Path, problems: DataProblems) -> dict[str, str]:
    """The second field of each line by its first."""
    return {key: value for _, (key, value) in records(file, 2, problems)}
