"""Facts about files, stored in one file, so that only new and changed files are read again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lightning_vision.errors import DataError
from lightning_vision.storage.atomic_write import write_text_atomically
from lightning_vision.storage.cache_folder import keep, locked
from lightning_vision.terminal.progress_bar import progress_bar

Fact = Any
"""What JSON can hold: numbers, text, None, and lists of these."""


def facts_of_files(
    files: Mapping[str, Path],
    look: Callable[..., Fact],
    folder: Path,
    name: str,
    text: str,
    workers: int,
    **settings: str | float,
) -> tuple[dict[str, Fact], dict[str, str]]:
    """Facts about files, computed once for each version of a file and choice of settings.

    Args:
        files: Names and files; facts are stored under the names.
        look: A plain function from the path of a file and the settings to a fact. It runs in threads and raises
            ``DataError`` if the file is damaged.
        folder: An existing folder for the facts.
        name: Name of the facts; the name of their file begins with it.
        text: Title of the progress bar.
        workers: Number of threads.
        settings: Everything that ``look`` depends on apart from the file.

    Returns:
        The facts by name, and the reasons for missing facts, which are not stored.

    Raises:
        TypeError: ``look`` is a method or closure, which may depend on more than the settings.
    """
    if getattr(look, "__self__", None) is not None or getattr(look, "__closure__", None):
        raise TypeError(
            f"{look} may depend on more than its arguments, which are the key of the stored facts. Use a plain "
            "function."
        )
    kept = folder / f"{name}{''.join(f'-{key}={value}' for key, value in settings.items())}.json"
    with locked(kept.parent, kept.name):  # other processes of the run wait, then find all of it done
        known = _read(kept)
        numbers, _ = file_versions([str(file) for file in files.values()])
        versions = dict(zip(files, numbers.tolist(), strict=True))
        new = [item for item in files if known.get(item, [None])[0] != versions[item]]
        reasons: dict[str, str] = {}

        def look_at(item: str) -> Fact:
            try:
                return look(files[item], **settings)
            except (DataError, OSError) as error:
                reasons[item] = short_reason(error, files[item])
                return None

        if new:
            fresh: dict[str, Any] = {}
            try:
                with threads(workers) as pool, progress_bar(text, len(new)) as advance:
                    for item, fact in zip(new, pool.map(look_at, new), strict=True):
                        fresh[item] = [versions[item], fact]
                        advance()
            finally:  # what was found before an interruption is not lost
                known |= {item: fact for item, fact in fresh.items() if item not in reasons}
                keep("Facts about files", kept, lambda: _write(kept, known))
    return {item: known[item][1] for item in files if item not in reasons}, reasons


def short_reason(error: Exception, file: Path) -> str:
    """An error's reason without the path, which is shown beside it."""
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, FileNotFoundError):
        return "file not found"
    if isinstance(error, OSError):  # its own text holds the path, and equal reasons are counted together
        return f"cannot be read ({error.strerror or error})"
    text = str(error).removesuffix(" Repair or remove it.").rstrip(".")
    for noun in ("image", "video"):
        text = text.replace(f"The {noun} {file} ", "")
    return " ".join(text.split()).replace(str(file), file.name)[:300]


@contextmanager
def threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that end with the block, also after Ctrl-C."""
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def file_versions(paths: Sequence[str]) -> tuple[npt.NDArray[np.int64], dict[int, OSError]]:
    """Numbers that change with a file: its size, the time of its last change, and that of its inode.

    The last one also changes with permissions and owner, and if other content has the time of the former one.

    Returns:
        (N, 3), and the errors of files that cannot be reached, by position; their numbers are the error's, negative.
    """
    numbers, problems = np.zeros((len(paths), 3), dtype=np.int64), dict[int, OSError]()
    for start in range(0, len(paths), 65536):  # in parts, because a million results of stat take much memory
        found = []
        for path in paths[start : start + 65536]:
            try:
                stat = os.stat(path)  # noqa: PTH116 - a Path for each of a million files takes longer than all else
                found.append((stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
            except OSError as error:
                problems[start + len(found)] = error
                found.append((-(error.errno or 1), 0, 0))
        numbers[start : start + len(found)] = found
    return numbers, problems


def _write(kept: Path, known: dict[str, Any]) -> None:
    write_text_atomically(kept, json.dumps({"files": known}, separators=(",", ":")))


def _read(kept: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):  # it is written again
        return {}
    return facts if isinstance(facts, dict) else {}
