"""The matrices of a long stream or of many classes, in files of their own beside results.json.

A confusion matrix has a file whose name is made from its content, so that one that has not changed is not written again. Rows are
appended to an accuracy matrix. Either way a results.json always names matrices that belong to it, even if the writer is killed
between two files.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from lightning_vision.errors import CheckpointError
from lightning_vision.results.array_rows import ArrayRows
from lightning_vision.results.matrix_rows import read_rows, write_rows
from lightning_vision.storage.atomic_write import write_atomically
from lightning_vision.storage.sparse_counts import MOST_DENSE, SparseCounts
from lightning_vision.terminal.wording import listed

MANY = 20
"""Rows or columns from which on a matrix is handled as an array, and not number by number."""

_PARTS = ("size", "places", "counts")
"""What a file holds of ``SparseCounts``, each as ``<place>/<part>``."""

Place = tuple[str, ...]
"""Where a matrix stands, such as ("test", "confusion_matrix")."""
Matrices = dict[Place, npt.NDArray[np.generic] | SparseCounts]


def large_matrices(content: Any) -> Matrices:
    """The matrices of more than ``MANY`` rows or columns.

    They go from lists to NumPy before anything looks at each number, since there may be millions.

    Args:
        content: ``Results``, or what results.json is to hold.

    Returns:
        By place: confusions (C, C) int64 or ``SparseCounts``, accuracies (t, T) float64 with NaN for null. Without what holds anything but numbers.
    """
    found: Matrices = {}
    for place, parent in _places(content):
        rows = parent[place[-1]]
        if isinstance(rows, SparseCounts):
            found[place] = rows
            continue
        if not isinstance(rows, list) or not rows or max(len(rows), len(rows[0])) <= MANY:
            continue
        try:
            matrix = _array_of(rows, place[-1])
        except (TypeError, ValueError):
            continue
        if matrix.dtype == np.int64:
            found[place] = matrix
        elif matrix.dtype == np.float64 and place[-1] == "accuracy_matrix":
            found[place] = np.where(np.isfinite(matrix), matrix, np.nan)
    return found


def longest_side(matrix: npt.NDArray[np.generic] | SparseCounts) -> int:
    """The number of its rows or columns, whichever is larger."""
    return matrix.size if isinstance(matrix, SparseCounts) else max(matrix.shape)


def all_but(matrices: Matrices) -> dict[str, Any]:
    """What ``exclude`` of ``model_dump`` leaves out so that the rest is dumped."""
    tree: dict[str, Any] = {}
    for *parents, key in matrices:
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[key] = True
    return tree


def put_in_place(content: dict[str, Any], values: Mapping[Place, object]) -> None:
    """Put values where matrices stood.

    Args:
        content: Of results.json; changed in place.
        values: By place.
    """
    for (*parents, key), value in values.items():
        node = content
        for parent in parents:
            node = node[parent]
        node[key] = value


def missing_files(content: dict[str, Any], folder: Path) -> list[str]:
    """The files among those that results.json names which are not there."""
    files = content.get("files")
    names = files.values() if isinstance(files, dict) else ()
    return sorted({str(name) for name in names if not (folder / str(name)).is_file()})


def put_back_matrices(content: dict[str, Any], path: Path) -> None:
    """Fill in the matrices that ``write_matrices`` wrote.

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
    matrices: dict[str, npt.NDArray[np.generic] | SparseCounts] = {}
    done = content.get("experiences")
    try:
        for name in names:
            if Path(name).name != name:
                raise ValueError("a file in the folder of results.json was expected")
            if name.endswith(".npy"):
                held = read_rows(path.parent / name, len(done) if isinstance(done, list) else 0)
                matrices |= {str(place): held for place, named in files.items() if named == name}
                continue
            with np.load(path.parent / name, allow_pickle=False) as file:
                matrices |= dict(_held_counts(file))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"Expected the matrices of {path} in {listed(names)} beside it, but: {error}. Restore the file from a copy, or "
            "run again."
        ) from error
    for place, parent in _places(content):
        key, name = place[-1], ".".join(place)
        if parent[key] is None and name in matrices:
            matrix = matrices[name]
            rows = matrix if isinstance(matrix, SparseCounts) else matrix.tolist()
            if key == "accuracy_matrix":
                rows = [[None if math.isnan(value) else value for value in row] for row in rows]
            parent[key] = rows


def write_matrices(matrices: Matrices, folder: Path) -> dict[str, str]:
    """Write what has changed: ``matrices-<digest>.npz`` for a confusion matrix, ``matrices-<digests>.npy`` for accuracies.

    Returns:
        The name of each matrix's file by its place.

    Raises:
        TrainingError: One cannot be written.
    """
    names = {}
    for place, matrix in matrices.items():
        where = ".".join(place)
        stem = f"matrices-{hashlib.sha256(where.encode()).hexdigest()[:8]}"
        if isinstance(matrix, SparseCounts) and matrix.size > MOST_DENSE:
            names[where] = _write_sparse(matrix, folder, stem, where)
        elif isinstance(matrix, SparseCounts):
            names[where] = _write_counts(np.asarray(matrix), folder, stem, where)
        elif place[-1] == "accuracy_matrix":
            names[where] = write_rows(matrix.astype(np.float64, copy=False), folder, stem)
        else:
            names[where] = _write_counts(matrix.astype(np.int64, copy=False), folder, stem, where)
    return names


def _write_counts(counts: npt.NDArray[np.int64], folder: Path, stem: str, where: str) -> str:
    """Write a confusion matrix (C, C) unless its file is there; returns the file's name."""
    least, most = int(counts.min()), int(counts.max())
    small = counts.astype(np.uint8) if least >= 0 and most < 256 else counts
    name = f"{stem}-{hashlib.sha256(small.tobytes()).hexdigest()[:12]}.npz"
    kept = counts.astype(np.int32) if least >= -(2**31) and most < 2**31 else counts

    _write_arrays({where: kept}, folder / name)
    return name


def _write_sparse(counts: SparseCounts, folder: Path, stem: str, where: str) -> str:
    """Write the filled cells of a confusion matrix unless their file is there; returns the file's name."""
    size = np.array(counts.size, dtype=np.int64)
    arrays = dict(zip(_PARTS, (size, counts.places, counts.counts), strict=True))
    digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays.values())).hexdigest()[:12]
    _write_arrays({f"{where}/{part}": array for part, array in arrays.items()}, folder / f"{stem}-{digest}.npz")
    return f"{stem}-{digest}.npz"


def _held_counts(file: Any) -> Iterator[tuple[str, npt.NDArray[np.generic] | SparseCounts]]:
    """The place and the counts of each confusion matrix in an open file of NumPy.

    Raises:
        KeyError, ValueError: A part of one is missing, or they do not fit each other.
    """
    for place in dict.fromkeys(name.partition("/")[0] for name in file.files):
        if place in file.files:
            counts = file[place]
            yield place, counts if len(counts) <= MOST_DENSE else SparseCounts.of(counts)
        else:
            size, places, counts = (file[f"{place}/{part}"] for part in _PARTS)
            yield place, SparseCounts(int(size), places, counts)


def _write_arrays(arrays: dict[str, npt.NDArray[np.generic]], path: Path) -> None:
    def write(temporary: Path) -> None:
        temporary.write_bytes(_compressed(arrays))

    if not path.is_file():
        write_atomically(path, write)


def drop_other_matrices(folder: Path, names: Collection[str]) -> None:
    """Delete the matrices of former results, once results.json names others."""
    for path in (*folder.glob("matrices-*.npz"), *folder.glob("matrices-*.npy")):
        if path.name not in names:
            path.unlink(missing_ok=True)


def _array_of(rows: list[list[Any]], name: str) -> npt.NDArray[Any]:
    """The array of a matrix's rows.

    Raises:
        ValueError, TypeError: They are not of one length, or hold no numbers.
    """
    if isinstance(rows, ArrayRows):
        return rows.array
    return _counts(rows) if name == "confusion_matrix" else np.array(rows, dtype=np.float64)


def _counts(rows: list[list[int]]) -> npt.NDArray[Any]:
    """Rows of integers as (C, C) int64; of another type if they hold something else.

    Raises:
        ValueError, TypeError: They are not of one length, or hold no numbers.
    """
    if len(set(map(len, rows))) == 1:
        try:  # counts below 256, which a large matrix mostly has, pass as bytes in a third of the time
            small = np.frombuffer(b"".join(map(bytes, rows)), dtype=np.uint8)
            return small.reshape(len(rows), -1).astype(np.int64)
        except (TypeError, ValueError):
            pass
    return np.array(rows)


def _compressed(arrays: dict[str, npt.NDArray[np.generic]]) -> bytes:
    """As ``np.savez_compressed`` does, at zlib's fastest level: most numbers of a large matrix are zero. No time is in it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return content.getvalue()


def _places(content: Any) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Each matrix: its place, and the fields of the object that holds it. What is not an object is passed over."""
    content = _fields(content)
    holders: list[tuple[Place, Any]] = [((), content), (("task",), content.get("task"))]
    holders += [(("variants", name), variant) for name, variant in _fields(content.get("variants")).items()]
    for where, value in holders:
        holder = _fields(value)
        if "accuracy_matrix" in holder:
            yield (*where, "accuracy_matrix"), holder
        for test in ("test", "first_test"):
            scores = _fields(holder.get(test))
            if "confusion_matrix" in scores:
                yield (*where, test, "confusion_matrix"), scores


def _fields(value: Any) -> dict[str, Any]:
    """The fields of an object of JSON or of a model; none of anything else."""
    if isinstance(value, BaseModel):
        return vars(value)
    return value if isinstance(value, dict) else {}
