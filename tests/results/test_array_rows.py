"""The rows of a matrix that know their array."""

import copy
import json

import numpy as np

from lightning_vision.results.array_rows import ArrayRows, GrowingRows, count_rows
from lightning_vision.results.matrix_file import large_matrices
from lightning_vision.storage.sparse_counts import SparseCounts


def test_they_are_lists_whose_array_is_taken_as_it_is() -> None:
    counts = np.arange(900).reshape(30, 30)
    rows = count_rows(SparseCounts.of(counts))
    assert rows == counts.tolist() and json.loads(json.dumps(rows)) == counts.tolist()
    assert isinstance(rows, ArrayRows)
    assert large_matrices({"test": {"confusion_matrix": rows}})["test", "confusion_matrix"] is rows.array
    for found in (copy.copy(rows), copy.deepcopy(rows)):
        assert found == rows and np.array_equal(found.array, counts)


def test_a_matrix_that_grows_and_whose_last_row_is_replaced() -> None:
    rows: list[list[float | None]] = []
    growing, added = GrowingRows(), list[list[float | None]]([[0.5, None], [0.25, 0.75]])
    for row in added:
        rows.append(row)
        found = growing.of(rows)
        assert found == rows and found.array.shape == (len(rows), 2)
    rows[1] = [1.0, 0.0]
    found = growing.of(rows)
    assert found == rows and np.array_equal(found.array, [[0.5, np.nan], [1.0, 0.0]], equal_nan=True)
    assert growing.of(rows[:1]) == [[0.5, None]]
