"""Facts that are slow to read from files, kept in one small file, so that only new and changed files are read again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_vision.cache_folder import locked
from lightning_vision.errors import DataError
from lightning_vision.inspection import progress_bar
from lightning_vision.run_directory import write_text_atomically

Fact = Any
"""What JSON can hold: numbers, text, None, and lists of these."""


def facts_of_files(
    files: Mapping[str, Path], look: Callable[[Path], Fact], kept: Path, text: str, workers: int
) -> tuple[dict[str, Fact], dict[str, str]]:
    """Look at files, each once as long as its size and date stay.

    Args:
        files: Name to file; facts are kept by name.
        look: The fact on a file. It is called in threads, and raises ``DataError`` where the file is broken.
        kept: The file that facts are kept in, in a folder that is there. What ``look`` depends on belongs in its name.
        text: What is done, for the progress bar.
        workers: Threads.

    Returns:
        The facts by name, and the reasons why there is none, which are not kept.
    """
    with locked(kept.parent, kept.name):  # other processes of the run wait, then find all of it done
        known = _read(kept)
        versions = {name: _version(file) for name, file in files.items()}
        new = [name for name in files if known.get(name, [None])[0] != versions[name]]
        reasons: dict[str, str] = {}

        def look_at(name: str) -> Fact:
            try:
                return look(files[name])
            except (DataError, OSError) as error:
                reasons[name] = short_reason(error, files[name])
                return None

        if new:
            fresh: dict[str, Any] = {}
            try:
                with _threads(workers) as pool, progress_bar(text, len(new)) as advance:
                    for name, fact in zip(new, pool.map(look_at, new), strict=True):
                        fresh[name] = [versions[name], fact]
                        advance()
            finally:  # what was found before an interruption is not lost
                known |= {name: fact for name, fact in fresh.items() if name not in reasons}
                write_text_atomically(kept, json.dumps({"files": known}, separators=(",", ":")))
    return {name: known[name][1] for name in files if name not in reasons}, reasons


def short_reason(error: Exception, file: Path) -> str:
    """An error's text without the file that it is about, for where that stands beside it."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = str(error).removesuffix(" Repair or remove it.").removesuffix(".")
    for noun in ("picture", "video"):
        text = text.removeprefix(f"The {noun} {file} ")
    return text.replace(str(file), file.name)


@contextmanager
def _threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that end at once when the block does, by Ctrl-C too."""
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _version(file: Path) -> list[int]:
    try:
        stat = file.stat()
    except OSError as error:
        return [-(error.errno or 1), 0]
    return [stat.st_size, stat.st_mtime_ns]


def _read(kept: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):  # it is made anew
        return {}
    return facts if isinstance(facts, dict) else {}
