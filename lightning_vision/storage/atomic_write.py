"""Atomic writing: a file has either its former or its new content."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightning_vision.errors import TrainingError


def write_text_atomically(path: Path, text: str) -> None:
    """Write a text file as ``write_atomically`` does."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file so that a reader finds either the former or the new content.

    Args:
        path: The file.
        write: Called with the path of a temporary file in the same folder and with the same suffix.

    Raises:
        TrainingError: The file cannot be written; its former content is unchanged.
    """
    try:
        with replacing(path) as temporary:
            write(temporary)
    except OSError as error:
        raise TrainingError(
            f"Cannot write {path}: {error.strerror or error}. The former content is unchanged. Free some space or make "
            "the folder writable, then run the same command again (fit: with --ckpt_path last)."
        ) from error


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary file that replaces a file at the end of the block, and is removed if the block raises an error.

    Args:
        path: The file. Its folder exists, and only one process writes it at a time.
        durable: Wait until the content is on the disk, so that it survives a power failure.

    Yields:
        The temporary file ``.<name>.tmp<suffix>`` in the same folder. A killed process may leave it.

    Raises:
        OSError: The file cannot be written.
    """
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        yield temporary
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):  # the first error is the one to report
            temporary.unlink()
        raise
