"""How much freed memory a process keeps for itself."""

from __future__ import annotations

import ctypes
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Numbers of the options in malloc.h."""
KEPT_BYTES = 256 * 2**20
"""Free memory above it is returned to the system."""
LARGEST_KEPT = 32 * 2**20
"""A larger piece is returned when it is freed; glibc accepts no more."""


def keep_freed_memory() -> None:
    """Let the C library keep freed memory, if it is glibc.

    By default it returns what a layer of a network has freed, and the system clears it page by page for the next layer: a third
    of the time of a convolutional network in inference on a CPU.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(MMAP_THRESHOLD, LARGEST_KEPT)
        library.mallopt(TRIM_THRESHOLD, KEPT_BYTES)
