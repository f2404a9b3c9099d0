"""Where what was computed from the data is kept: frames of videos, what an inspection found, decoded images."""

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
    """A hidden folder next to the root, not in it: to other readers every folder in a root of images is a class."""
    root = root.resolve()
    return root.parent / f".{root.name}{SUFFIX}"


def user_cache() -> Path:
    """The user's own folder for caches; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lightning_vision"


def foreign_cache(root: object) -> str | None:
    """The ``cache_dir`` for data that a configuration names which the user did not: no folder is made where it says.

    None, which is beside the data, if a cache is there already and no link in it leads elsewhere; else the user's own.
    """
    if not isinstance(root, str | Path) or not Path(root).expanduser().is_dir():
        return None
    kept = beside(Path(root).expanduser())
    if kept.is_symlink() or not kept.is_dir():
        return str(user_cache())
    names = (Path(folder) / name for folder, folders, files in os.walk(kept) for name in (*folders, *files))
    return str(user_cache()) if any(name.is_symlink() for name in names) else None


def cache_folder(root: Path | None, cache_dir: str | Path | None = None) -> Path:
    """The folder for caches of the data below ``root``; it is made.

    It lies in ``cache_dir`` where that is given (a folder of its own for each root), else beside the root; where nothing
    can be written there, as with shared data sets, in the user's cache folder. There too if the data is no folder (None).

    Raises:
        ConfigError: None of them can be written to.
    """
    own_name = "pictures"
    if root is not None:
        name = str(root.resolve()).encode("utf-8", "surrogateescape")
        own_name = f"{root.resolve().name[:50] or 'data'}-{hashlib.sha256(name).hexdigest()[:12]}"
    if cache_dir is not None:
        places = [Path(cache_dir).expanduser() / own_name]
    else:
        places = [*([beside(root)] if root is not None and root.is_dir() else []), user_cache() / own_name]
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
        f"No folder to keep caches in ({'; '.join(problems)}). Give one that can be written to as data.cache_dir."
    )


@contextmanager
def locked(folder: Path, name: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock that one thread of one process has at a time, on this machine and where the file system's locks reach.

    It dies with its process. Its file stays, for many come and go.

    Args:
        folder: Where the lock's file lies.
        name: The file's name without ``.lock``.
        wait: Until it is free; otherwise the block is entered without it if another has it.

    Yields:
        Whether it is held.

    Raises:
        DataError: The file system has no locks.
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
            f"{folder} cannot be locked ({error.strerror}): its file system has no locks. Give a local folder as "
            "data.cache_dir."
        ) from error
    try:
        yield lock.is_locked
    finally:
        lock.release()


def keep(what: str, path: Path, write: Callable[[], None]) -> None:
    """Write what can be computed anew: where a disk is full that is said, and the run goes on.

    Args:
        what: What is kept, a plural, for the message.
        path: Where.
        write: Writes it.
    """
    try:
        write()
    except (OSError, TrainingError) as error:
        reason = error.__cause__ if isinstance(error.__cause__, OSError) else error
        told = (reason.strerror if isinstance(reason, OSError) else None) or reason
        print_notice(
            f"{what} cannot be kept in {path}: {told}. This run goes on without; the next one computes them anew."
        )
