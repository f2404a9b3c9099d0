"""Reads a file of tensors and plain values without executing anything in it, and writes it atomically."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch

from lightning_vision.errors import CheckpointError, TrainingError
from lightning_vision.storage.atomic_write import write_atomically

Checkpoint = dict[str, Any]
OF_BYTES_THAT_ARE_NO_PICKLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    struct.error,
)
"""Errors of the reader, which takes the bytes of any file for its commands: a text that begins with s takes from an empty stack."""


def load_file(path: Path, *, lazily: bool = False) -> Any:
    """The content of a file that torch saved; nothing in it is executed.

    Args:
        path: The file.
        lazily: Read a tensor only when it is used; the file must not be overwritten meanwhile.

    Raises:
        CheckpointError: It is missing or damaged, or holds code.
    """
    if not path.is_file():
        raise CheckpointError(f"Expected a checkpoint file, found nothing at {path}.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=lazily)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and plain values, which could be code, so it was not loaded "
            f"({' '.join(str(error).split())[:200]}). Use checkpoints written by lightning_vision."
        ) from error
    except (*OF_BYTES_THAT_ARE_NO_PICKLE, RuntimeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is damaged or no checkpoint: {' '.join(str(error).split())[:200]}") from error


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint, or other tensors and plain values by name, atomically.

    Raises:
        TrainingError: It cannot be written.
    """
    try:
        write_atomically(path, lambda temporary: torch.save(checkpoint, temporary))
    except RuntimeError as error:  # torch reports a full disk this way
        path.with_name(f".{path.stem}.tmp{path.suffix}").unlink(missing_ok=True)
        raise TrainingError(
            f"{path} could not be written: {error}. Is the disk full? Earlier checkpoints are unchanged; free some space and "
            "resume with --ckpt_path last."
        ) from error
