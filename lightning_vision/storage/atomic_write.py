"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lightning_vision.errors import TrainingError


def write_text_atomically(path: Path, text: str) -> None:
    """Write a text file as ``write_atomically`` does."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file so that a reader finds the old one or the new one, never half of one.

    Args:
        path: The file.
        write: Given the path of a temporary file beside it, with the same ending.

    Raises:
        TrainingError: It cannot be written; what was there is unchanged.
    """
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # the first error is the one to report
            temporary.unlink()
        raise TrainingError(
            f"{path} could not be written: {error.strerror or error}. What was there before is unchanged. "
            "Free some space or make the folder writable, then give the same command again (fit: with --ckpt_path last)."
        ) from error
