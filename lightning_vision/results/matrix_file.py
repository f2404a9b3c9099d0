"""The matrices of a long stream or of many classes, in a file of their own beside results.json.

The file's name is made from its content, so that a results.json always names the matrices that belong to it, even if the
writer is killed between the two files.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lightning_vision.errors import CheckpointError
from lightning_vision.storage.atomic_write import write_atomically
from lightning_vision.terminal.wording import listed

LARGEST = 200
"""Rows or columns of the largest matrix that stands in results.json itself."""

Matrices = dict[str, npt.NDArray[np.generic]]


def take_out_matrices(content: dict[str, Any]) -> Matrices:
    """Replace each matrix of more than ``LARGEST`` rows or columns by None.

    Args:
        content: What results.json is to hold; changed in place.

    Returns:
        The matrices by their place, such as ``test.confusion_matrix``: confusions (C, C) int64, accuracies (t, T) float64
        with NaN for null.
    """
    found: Matrices = {}
    for place, parent, key in _places(content):
        rows = parent[key]
        if rows and max(len(rows), len(rows[0])) > LARGEST:
            found[place] = np.array(rows, dtype=np.int64 if key == "confusion_matrix" else np.float64)
            parent[key] = None
    return found


def missing_files(content: dict[str, Any], folder: Path) -> list[str]:
    """The files among those that results.json names which are not there."""
    files = content.get("files")
    names = files.values() if isinstance(files, dict) else ()
    return sorted({str(name) for name in names if not (folder / str(name)).is_file()})


def put_back_matrices(content: dict[str, Any], path: Path) -> None:
    """Fill in what ``take_out_matrices`` took out.

    Args:
        content: Of results.json; changed in place.
        path: Of results.json; the matrices lie beside it.

    Raises:
        CheckpointError: A file that it names is missing or damaged, or lies elsewhere.
    """
    files = content.get("files")
    if not isinstance(files, dict) or not files:
        return
    names = sorted({str(name) for name in files.values()})
    matrices: Matrices = {}
    try:
        for name in names:
            if Path(name).name != name:
                raise ValueError("a file in the folder of results.json was expected")
            with np.load(path.parent / name, allow_pickle=False) as file:
                matrices |= {place: file[place] for place in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"Expected the matrices of {path} in {listed(names)} beside it, but: {error}. Restore the file from a copy, or "
            "run again."
        ) from error
    for place, parent, key in _places(content):
        if parent[key] is None and place in matrices:
            rows = matrices[place].tolist()
            if key == "accuracy_matrix":
                rows = [[None if math.isnan(value) else value for value in row] for row in rows]
            parent[key] = rows


def write_matrices(matrices: Matrices, folder: Path) -> str:
    """Write ``matrices-<digest>.npz`` and return its name.

    Raises:
        TrainingError: It cannot be written.
    """
    digest = hashlib.sha256()
    for place, matrix in matrices.items():
        digest.update(f"{place} {matrix.shape} ".encode() + matrix.tobytes())
    name = f"matrices-{digest.hexdigest()[:12]}.npz"
    arrays: dict[str, Any] = {**matrices}
    write_atomically(folder / name, lambda temporary: np.savez_compressed(temporary, **arrays))
    return name


def drop_other_matrices(folder: Path, name: str | None) -> None:
    """Delete the matrices of former results, once results.json names others."""
    for path in folder.glob("matrices-*.npz"):
        if path.name != name:
            path.unlink(missing_ok=True)


def _places(content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Each matrix: its place in words, and the object and the key that hold it. What is not an object is passed over."""
    variants = content.get("variants")
    named = variants if isinstance(variants, dict) else {}
    holders = [("", content), ("task.", content.get("task"))]
    holders += [(f"variants.{name}.", variant) for name, variant in named.items()]
    for prefix, holder in holders:
        if isinstance(holder, dict):
            if "accuracy_matrix" in holder:
                yield f"{prefix}accuracy_matrix", holder, "accuracy_matrix"
            for test in ("test", "first_test"):
                scores = holder.get(test)
                if isinstance(scores, dict) and "confusion_matrix" in scores:
                    yield f"{prefix}{test}.confusion_matrix", scores, "confusion_matrix"
