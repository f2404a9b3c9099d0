"""Values of several runs by what they are of, and their means; a value that is not known is None."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from statistics import fmean
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def by_key(pairs: Iterable[tuple[Key, float | None]]) -> dict[Key, list[float]]:
    """The known values of each key, in the order of the pairs."""
    found: dict[Key, list[float]] = {}
    for key, value in pairs:
        if value is not None:
            found.setdefault(key, []).append(value)
    return found


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """The mean of the known values; None if there is none."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def mean_of_all(values: Sequence[float | None]) -> float | None:
    """The mean; None if any value is not known: a mean over other runs would be compared with those of all."""
    return None if any(value is None for value in values) else mean_of_known(values)
