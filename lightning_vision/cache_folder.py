"""Where what was computed from the data is kept: frames of videos, what an inspection found, decoded pictures."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_vision.errors import ConfigError

NAME = ".lightning_vision"
"""Hidden, so that no reader of pictures looks into it."""


def cache_folder(root: Path, cache_dir: str | Path | None = None) -> Path:
    """The folder for caches of the data below ``root``; it is made.

    It lies in ``cache_dir`` where that is given (a folder of its own for each root), else in the root; where the root is
    read-only, as shared data sets often are, in the user's cache folder.

    Raises:
        ConfigError: None of them can be written to.
    """
    own_name = f"{root.resolve().name or 'data'}-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]}"
    if cache_dir is not None:
        places = [Path(cache_dir).expanduser() / own_name]
    else:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        places = [root / NAME, home / "lightning_vision" / own_name]
    problems = []
    for place in places:
        if place == root / NAME and not root.is_dir():
            continue
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
