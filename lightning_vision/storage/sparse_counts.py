"""A confusion matrix of many classes, of which only the filled cells are held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

MOST_DENSE = 1000
"""Classes of the largest confusion matrix that is held with its empty cells; one of 10,000 classes takes 800 MB."""

Integers = npt.NDArray[np.int64]


class SparseCounts(Sequence[list[int]]):
    """Counts (C, C) as a sequence of rows, each of which is made when it is asked for. Treat it as unchangeable.

    Args:
        size: C.
        places: (K,) the filled cells, row * C + column, ascending.
        counts: (K,) what is in them.

    Raises:
        ValueError: A place is not in the matrix, or they are not ascending, or there is not a count for each.
    """

    def __init__(self, size: int, places: npt.ArrayLike, counts: npt.ArrayLike) -> None:
        self.size = size
        self.places: Integers = np.asarray(places, dtype=np.int64)
        self.counts: Integers = np.asarray(counts, dtype=np.int64)
        inside = not self.places.size or (self.places[0] >= 0 and self.places[-1] < size**2)
        if self.places.ndim != 1 or self.places.shape != self.counts.shape or not inside or np.any(np.diff(self.places) <= 0):  # fmt: skip
            raise ValueError(
                f"ascending places from 0 to {size**2 - 1} with a count each were expected, found {self.places.shape} places "
                f"and {self.counts.shape} counts, or others"
            )

    @classmethod
    def of(cls, matrix: npt.ArrayLike | SparseCounts) -> SparseCounts:
        """The same counts without the empty cells.

        Args:
            matrix: (C, C), rows true, columns predicted.
        """
        if isinstance(matrix, SparseCounts):
            return matrix
        flat = np.asarray(matrix).ravel()
        places = np.flatnonzero(flat)
        return cls(len(np.asarray(matrix)), places, flat[places])

    @classmethod
    def of_predictions(cls, labels: npt.ArrayLike, predicted: npt.ArrayLike, classes: int) -> SparseCounts:
        """Count how often each class was taken for which.

        Args:
            labels: (N,) true classes.
            predicted: (N,) predicted classes.
            classes: C.
        """
        cells = np.asarray(labels, dtype=np.int64) * classes + np.asarray(predicted, dtype=np.int64)
        return cls(classes, *np.unique(cells, return_counts=True))

    @property
    def rows(self) -> Integers:
        """(K,) the true class of each filled cell."""
        return self.places // self.size

    @property
    def columns(self) -> Integers:
        """(K,) the predicted class of each filled cell."""
        return self.places % self.size

    @property
    def support(self) -> Integers:
        """(C,) images of each class."""
        return self._sums(self.rows, self.counts)

    @property
    def predicted(self) -> Integers:
        """(C,) images that are taken for each class."""
        return self._sums(self.columns, self.counts)

    @property
    def correct(self) -> Integers:
        """(C,) images of each class that are classified correctly."""
        right = self.rows == self.columns
        return self._sums(self.rows[right], self.counts[right])

    @property
    def shape(self) -> tuple[int, int]:
        """Of the whole matrix."""
        return self.size, self.size

    @property
    def errors(self) -> Integers:
        """(C,) errors with each class as the true or as the predicted one."""
        return self.support + self.predicted - 2 * self.correct

    def most_confused(self, most: int) -> Integers:
        """The classes with the most errors, as true or as predicted class: ``most`` numbers at most, ascending."""
        return np.sort(np.argsort(-self.errors, kind="stable")[:most])

    def part(self, rows: Integers, columns: Integers) -> Integers:
        """The counts (R, S) of some true classes (R,) and predicted classes (S,), both ascending and each once."""
        held = np.isin(self.rows, rows) & np.isin(self.columns, columns)
        counts = np.zeros((len(rows), len(columns)), dtype=np.int64)
        places = np.searchsorted(rows, self.rows[held]), np.searchsorted(columns, self.columns[held])
        counts[places] = self.counts[held]
        return counts

    def renumbered(self, numbers: Sequence[int]) -> SparseCounts:
        """The same counts with another number for each class.

        Args:
            numbers: (C,) the new number of each class.
        """
        new = np.asarray(numbers, dtype=np.int64)
        places = new[self.rows] * self.size + new[self.columns]
        order = np.argsort(places)
        return SparseCounts(self.size, places[order], self.counts[order])

    def tolist(self) -> list[list[int]]:
        """All rows, with the empty cells."""
        return [self[row] for row in range(self.size)]

    def _sums(self, classes: Integers, counts: Integers) -> Integers:
        sums = np.zeros(self.size, dtype=np.int64)
        np.add.at(sums, classes, counts)
        return sums

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, row: int) -> list[int]: ...

    @overload
    def __getitem__(self, row: slice) -> list[list[int]]: ...

    def __getitem__(self, row: int | slice) -> list[int] | list[list[int]]:
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(self.size))]
        number = range(self.size)[row]
        start, stop = np.searchsorted(self.places, (number * self.size, (number + 1) * self.size))
        counts = np.zeros(self.size, dtype=np.int64)
        counts[self.places[start:stop] - number * self.size] = self.counts[start:stop]
        found: list[int] = counts.tolist()
        return found

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        counts = np.zeros(self.size**2, dtype=np.int64 if dtype is None else dtype)
        counts[self.places] = self.counts
        return counts.reshape(self.size, self.size)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SparseCounts):
            same = self.size == other.size and np.array_equal(self.places, other.places)
            return same and np.array_equal(self.counts, other.counts)
        return isinstance(other, list) and len(other) == self.size and all(map(list.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"SparseCounts({self.size} x {self.size}, {len(self.places)} filled cells)"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A field of a model holds it as it is, and dumps its rows."""
        from pydantic_core import core_schema

        dumped = core_schema.plain_serializer_function_ser_schema(cls.tolist)
        return core_schema.is_instance_schema(cls, serialization=dumped)
