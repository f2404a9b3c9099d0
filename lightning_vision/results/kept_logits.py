"""The logits in predictions.npz: an array that grows on the disk, of which memory holds one experience.

Logits are stored as float16, less the largest of their image, which is stored beside them in float32: differences, on which
predictions and probabilities depend, then have the precision of float16 whatever the size of the logits.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_vision.errors import DataError

MEMBER = "logits.npy"
LOWEST = float(torch.finfo(torch.float16).min)
CHUNK = 2**20  # bytes that are copied at a time
Half = npt.NDArray[np.float16]


def relative_logits(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Logits less the largest of their image, and this.

    Args:
        logits: (..., C) float32; -inf for classes that were not seen.

    Returns:
        (..., C) float16, where a finite logit stays finite, and (...) float32.
    """
    largest = logits.max(dim=-1).values
    relative = logits - largest[..., None]
    return torch.where(relative.isfinite(), relative.clamp(min=LOWEST), relative).half(), largest


def add_logits(target: Path, rows: Sequence[Half], former: Path | None = None, kept: int = 0) -> None:
    """Add the array ``logits`` (kept + r, N, C) to an archive that has none.

    Args:
        target: The archive.
        rows: r arrays (N, C) of the newest experiences.
        former: The archive with earlier experiences; None if there are none.
        kept: Number of its rows that come first. They are copied in pieces.

    Raises:
        OSError, ValueError, KeyError, BadZipFile: The former archive has no such rows, or cannot be read.
    """
    with zipfile.ZipFile(target, "a") as archive, archive.open(MEMBER, "w", force_zip64=True) as out:
        if former is None or not kept:
            _write_header(out, (len(rows), *rows[0].shape))
        else:
            with zipfile.ZipFile(former) as earlier, earlier.open(MEMBER) as saved:
                t, n, c = _read_header(saved)
                if t < kept or any(row.shape != (n, c) for row in rows):
                    raise ValueError(
                        f"expected logits of {kept} experience(s), found {t} of {n} images and {c} classes"
                    )
                _write_header(out, (kept + len(rows), n, c))
                _copy(saved, out, 2 * kept * n * c)
        for row in rows:
            out.write(np.ascontiguousarray(row, dtype="<f2").tobytes())


def read_logits(path: str | Path, experience: int = -1) -> npt.NDArray[np.float32]:
    """The logits of a run after an experience, from its predictions.npz.

    The classes are in the order of the array ``class_names`` of the file, and the images in that of ``index``.

    Args:
        path: The file.
        experience: The experience, from 0; negative numbers count from the last.

    Returns:
        (N, C), with the precision of float16 relative to the largest logit of an image; -inf for classes that were not seen.

    Raises:
        DataError: The file has no logits, or not of this experience.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if MEMBER not in archive.namelist():
                raise DataError(f"{path} has no logits. Expected a run with model.keep_logits true.")
            with archive.open(MEMBER) as saved:
                t, n, c = _read_header(saved)
                if not -t <= experience < t:
                    raise DataError(f"{path}: expected an experience from {-t} to {t - 1}, found {experience}.")
                saved.seek(2 * (experience % t) * n * c, 1)
                relative = np.frombuffer(saved.read(2 * n * c), dtype="<f2").reshape(n, c)
        with np.load(path, allow_pickle=False) as file:
            largest: npt.NDArray[np.float32] = file["largest_logit"][experience]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: the logits cannot be read: {error}. Restore the file from a copy.") from error
    return relative.astype(np.float32) + largest[:, None]


def _write_header(out: IO[bytes], shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(out, {"descr": "<f2", "fortran_order": False, "shape": shape})


def _read_header(saved: IO[bytes]) -> tuple[int, int, int]:
    """The shape (t, N, C) of an array of float16, whose entries follow."""
    if np.lib.format.read_magic(saved) != (1, 0):
        raise ValueError("its format is of another version of NumPy")
    header: Any = np.lib.format.read_array_header_1_0(saved)
    shape, by_columns, kind = header
    if len(shape) != 3 or by_columns or kind != np.dtype("<f2"):
        raise ValueError(f"expected float16 by experience, image and class, found {kind} of shape {shape}")
    return int(shape[0]), int(shape[1]), int(shape[2])


def _copy(saved: IO[bytes], out: IO[bytes], count: int) -> None:
    while count:
        piece = saved.read(min(count, CHUNK))
        if not piece:
            raise ValueError("it ends too early")
        out.write(piece)
        count -= len(piece)
