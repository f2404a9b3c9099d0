"""The rows of a matrix that know their array."""

import copy
import json
from pathlib import Path

import numpy as np

from lightning_vision.results.array_rows import LARGEST, ArrayRows, GrowingRows, count_rows
from lightning_vision.results.matrix_file import large_matrices, write_matrices
from lightning_vision.storage.sparse_counts import SparseCounts


def test_they_are_lists_whose_array_is_taken_as_it_is() -> None:
    counts = np.arange(900).reshape(30, 30)
    rows = count_rows(SparseCounts.of(counts))
    assert rows == counts.tolist() and json.loads(json.dumps(rows)) == counts.tolist()
    assert isinstance(rows, ArrayRows)
    assert large_matrices({"test": {"confusion_matrix": rows}})["test", "confusion_matrix"] is rows.array
    for found in (copy.copy(rows), copy.deepcopy(rows)):
        assert found == rows and np.array_equal(found.array, counts)


def test_counts_that_results_json_does_not_list_are_held_without_lists_and_have_the_same_file(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).integers(0, 3, (LARGEST + 1, LARGEST + 1))
    rows = count_rows(SparseCounts.of(counts))
    # A list would be looked at by each collection, cell by cell.
    assert isinstance(rows, SparseCounts) and rows == counts.tolist()
    for side in "ab":
        (tmp_path / side).mkdir()
    place = ("test", "confusion_matrix")
    names = [write_matrices({place: matrix}, tmp_path / side) for side, matrix in (("a", counts), ("b", rows))]
    assert names[0] == names[1]
    one, other = (next((tmp_path / side).iterdir()).read_bytes() for side in "ab")
    assert one == other


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
