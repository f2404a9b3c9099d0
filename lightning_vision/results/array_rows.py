"""The rows of a matrix, with the array of the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lightning_vision.storage.sparse_counts import SparseCounts

LARGEST = 200
"""Rows or columns of the largest matrix that stands in results.json itself."""


class ArrayRows(list[list[Any]]):
    """Rows of numbers which must not be changed, so that a million of them need not go from lists to an array.

    Args:
        rows: R rows of C numbers.
        array: (R, C) the same, int64 or float64 with NaN for None.
    """

    def __init__(self, rows: Sequence[list[Any]], array: npt.NDArray[np.generic]) -> None:
        super().__init__(rows)
        self.array = array

    def __reduce__(self) -> tuple[type[ArrayRows], tuple[list[list[Any]], npt.NDArray[np.generic]]]:
        """Copies keep the array."""
        return ArrayRows, (list(self), self.array)


def count_rows(counts: SparseCounts) -> ArrayRows | SparseCounts:
    """The rows of counts (C, C) as a run holds them: without the empty cells where results.json does not list them.

    Python's garbage collector would look at each cell of a list after every experience.
    """
    if counts.size > LARGEST:
        return counts
    dense = np.asarray(counts)
    return ArrayRows(dense.tolist(), dense)


class GrowingRows:
    """Makes ``ArrayRows`` of a matrix to which rows are added: each row is converted once."""

    def __init__(self) -> None:
        self._known: list[tuple[list[float | None], npt.NDArray[np.float64]]] = []

    def of(self, rows: Sequence[list[float | None]]) -> ArrayRows:
        """The rows as they are now. One that is replaced by another list is converted again."""
        for place, row in enumerate(rows):
            if place == len(self._known) or self._known[place][0] is not row:
                self._known[place:] = [(row, np.array(row, dtype=np.float64))]
        return ArrayRows(rows, np.stack([array for _, array in self._known[: len(rows)]]))
