"""Folders for results computed from the data: video frames, inspections, decoded images."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lightning_vision.errors import ConfigError, DataError, TrainingError
from lightning_vision.storage.writer_lock import NO_LOCKS
from lightning_vision.terminal.messages import print_notice

SUFFIX = ".lightning_vision"


def beside(root: Path) -> Path:
    """A hidden folder beside the root, because other programs treat every folder in the root as a class."""
    root = root.resolve()
    return root.parent / f".{root.name}{SUFFIX}"


def user_cache() -> Path:
    """The user's folder for caches; it may not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lightning_vision"


def foreign_cache(root: object) -> str | None:
    """The ``cache_dir`` for data of a configuration from someone else; no folder is created beside such data.

    None (beside the data) if a cache exists there and contains no links to other folders; otherwise the user's folder.
    """
    if not isinstance(root, str | Path) or not Path(root).expanduser().exists():
        return None
    kept = beside(Path(root).expanduser())
    if kept.is_symlink() or not kept.is_dir():
        return str(user_cache())
    names = (Path(folder) / name for folder, folders, files in os.walk(kept) for name in (*folders, *files))
    return str(user_cache()) if any(name.is_symlink() for name in names) else None


def cache_folder(root: Path | None, cache_dir: str | Path | None = None) -> Path:
    """The folder for caches of the data in ``root``, a folder or an archive; it is created.

    It is in ``cache_dir`` if given (one sub-folder for each root), otherwise beside the root. It is in the user's cache
    folder if that location is not writable, as for shared datasets, or if the data is not on the disk (None).

    Raises:
        ConfigError: None of them is writable.
    """
    own_name = "pictures"
    if root is not None:
        name = str(root.resolve()).encode("utf-8", "surrogateescape")
        own_name = f"{root.resolve().name[:50] or 'data'}-{hashlib.sha256(name).hexdigest()[:12]}"
    if cache_dir is not None:
        places = [Path(cache_dir).expanduser() / own_name]
    else:
        places = [*([beside(root)] if root is not None and root.exists() else []), user_cache() / own_name]
    problems = []
    for place in places:
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problems.append(f"{place}: {error.strerror}")
            continue
        if os.access(place, os.W_OK):
            return place
        problems.append(f"{place}: not writable")
    raise ConfigError(
        f"No writable folder for caches ({'; '.join(problems)}). Set data.cache_dir to a writable folder."
    )


@contextmanager
def locked(folder: Path, name: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock that only one thread of one process can have, on this machine and on shared file systems with locks.

    It is released when its process ends. Its file remains.

    Args:
        folder: The folder of the lock's file.
        name: The file's name without ``.lock``.
        wait: Wait until the lock is free. Otherwise the block runs without the lock if it is taken.

    Yields:
        Whether the lock is held.

    Raises:
        DataError: The file system does not support locks.
    """
    lock = FileLock(folder / f"{name}.lock", thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        pass
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise DataError(
            f"Cannot lock {folder} ({error.strerror}): its file system does not support locks. Set data.cache_dir to a "
            "local folder."
        ) from error
    try:
        yield lock.is_locked
    finally:
        lock.release()


def keep(what: str, path: Path, write: Callable[[], None]) -> None:
    """Write results that can be computed again: if the disk is full, print a message and continue.

    Args:
        what: The results, a plural noun for the message.
        path: The location.
        write: The function that writes them.
    """
    try:
        write()
    except (OSError, TrainingError) as error:
        reason = error.__cause__ if isinstance(error.__cause__, OSError) else error
        told = (reason.strerror if isinstance(reason, OSError) else None) or reason
        print_notice(
            f"{what} cannot be stored in {path}: {told}. This run continues without storing them; the next run "
            "computes them again."
        )
