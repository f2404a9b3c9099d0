"""Arrays in an npz file that can be computed again: an unreadable file counts as none."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lightning_vision.storage.atomic_write import write_atomically


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]] | None:
    """All arrays of a file by name; None if it is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays by name (not ``file``, which is an argument of ``np.savez``); the file is replaced atomically.

    Raises:
        TrainingError: It cannot be written.
    """

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub takes the names for its own options

    write_atomically(path, save)
