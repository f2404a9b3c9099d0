"""Times of images: sessions, and whether times of files are those of a copy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SESSION_GAP_SECONDS = 1800.0
"""A pause of half an hour ends a session."""
FASTEST_SECONDS = 1.0
"""File times with a smaller median distance are those of a copy, not of a camera."""

Floats = npt.NDArray[np.float64]


def sessions(times: Floats) -> npt.NDArray[np.int64]:
    """(N,) the session of each time, from 0; a new one begins after a pause of half an hour."""
    order = np.argsort(times, kind="stable")
    number = np.empty(len(times), dtype=np.int64)
    number[order] = np.cumsum(np.diff(times[order], prepend=times[order][:1]) > SESSION_GAP_SECONDS)
    return number


def are_of_a_copy(times: Floats) -> bool:
    """Whether times of files follow each other too fast, or there are fewer than two."""
    return len(times) < 2 or bool(np.median(np.diff(np.sort(times))) < FASTEST_SECONDS)
