"""A disk that is all but full, made by a limit on the size of files.

The limit must be lifted before a test returns: pytest writes to its own report then, which may be a file of any length.
"""

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def as_much_disk_as_before() -> Iterator[None]:
    """Remove a limit that is set inside the block."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def small_files_only(most: int) -> Iterator[None]:
    """No file may grow beyond so many bytes."""
    with as_much_disk_as_before():
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        yield
