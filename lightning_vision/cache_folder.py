"""Where what was computed from the data is kept: frames of videos, what an inspection found, decoded pictures."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_vision.errors import ConfigError

SUFFIX = ".lightning_vision"


def beside(root: Path) -> Path:
    """A hidden folder next to the root, not in it: to other readers every folder in a root of pictures is a class."""
    root = root.resolve()
    return root.parent / f".{root.name}{SUFFIX}"


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
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        places = [*([beside(root)] if root is not None and root.is_dir() else []), home / "lightning_vision" / own_name]
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
def locked(folder: Path, name: str) -> Iterator[None]:
    """Hold a lock that one process has at a time, on this machine and where the file system's locks reach."""
    with (folder / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
