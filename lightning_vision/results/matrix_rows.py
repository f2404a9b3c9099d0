"""A matrix that grows by a row with each experience, in a NumPy file to which rows are appended.

A file keeps its name while rows are appended. It may hold more rows than the results.json that names it, if the writer was killed
between the two files; a reader takes as many rows as there are experiences.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lightning_vision.errors import TrainingError
from lightning_vision.storage.atomic_write import write_atomically

Matrix = npt.NDArray[np.float64]


def write_rows(matrix: Matrix, folder: Path, stem: str) -> str:
    """Append the new rows of a matrix to the file that holds the others, or write ``<stem>-<digest>.npy``.

    A file whose rows are others is left alone, since a results.json may name it.

    Args:
        matrix: (t, T) float64.
        folder: The folder of the file.
        stem: The same for each state of one matrix.

    Returns:
        The file's name.

    Raises:
        TrainingError: It cannot be written.
    """
    matrix = np.ascontiguousarray(matrix)
    for path in sorted(folder.glob(f"{stem}-*.npy")):
        held = _held_rows(path, matrix)
        if held is not None:
            if held < len(matrix):
                _append(path, matrix, held)
            return path.name
    path = folder / f"{stem}-{hashlib.sha256(matrix.tobytes()).hexdigest()[:12]}.npy"

    def write(temporary: Path) -> None:
        temporary.write_bytes(_header(matrix) + matrix.tobytes())

    write_atomically(path, write)
    return path.name


def read_rows(path: Path, count: int) -> Matrix:
    """The first rows of a matrix.

    Args:
        path: The file.
        count: The number of experiences.

    Raises:
        OSError, ValueError: The file is missing or damaged.
    """
    with path.open("rb") as file:
        matrix = np.lib.format.read_array(file, allow_pickle=False)
    if matrix.ndim != 2 or matrix.dtype != np.float64:
        raise ValueError(f"rows of float64 were expected, found {matrix.dtype} {matrix.shape}")
    return np.asarray(matrix[:count], dtype=np.float64)


def _held_rows(path: Path, matrix: Matrix) -> int | None:
    """How many rows a file holds; None if they are not the first ones of the matrix, or the file is damaged."""
    try:
        held = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None
    header = _header(held)
    with path.open("rb") as file:
        fits = (
            file.read(len(header)) == header == _header(matrix[: len(held)])
        )  # so is the type, and rows can be appended
    return len(held) if fits and np.array_equal(held, matrix[: len(held)], equal_nan=True) else None


def _append(path: Path, matrix: Matrix, held: int) -> None:
    """Write the rows after those held, then the header that counts them: a kill in between leaves the former matrix."""
    header = _header(matrix)
    try:
        with path.open("r+b") as file:
            file.seek(len(header) + matrix[:held].nbytes)
            file.write(matrix[held:].tobytes())
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            file.write(header)
    except OSError as error:
        raise TrainingError(
            f"Cannot append to {path}: {error.strerror or error}. Its former rows are unchanged. Free some space or make the "
            "folder writable, then run the same command again (fit: with --ckpt_path last)."
        ) from error


def _header(matrix: Matrix) -> bytes:
    """The header of the file; NumPy leaves room in it for the number of rows to grow."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, np.lib.format.header_data_from_array_1_0(matrix))
    return content.getvalue()
