"""Arrays are read as they were written; an unreadable file counts as none."""

from pathlib import Path

import numpy as np
import pytest

from lightning_vision.errors import TrainingError
from lightning_vision.storage.array_file import read_arrays, write_arrays


def test_arrays_are_read_as_they_were_written(tmp_path: Path) -> None:
    arrays = {"key": np.arange(6, dtype=np.uint8).reshape(3, 2), "names": np.array(["a", "é"])}
    write_arrays(tmp_path / "a.npz", arrays)
    found = read_arrays(tmp_path / "a.npz")
    assert found is not None and found.keys() == arrays.keys()
    assert all(
        np.array_equal(found[name], value) and found[name].dtype == value.dtype for name, value in arrays.items()
    )


@pytest.mark.parametrize("content", [None, b"", b"not an archive", b"PK\x03\x04 cut off"])
def test_an_unreadable_file_counts_as_none(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "a.npz").write_bytes(content)
    assert read_arrays(tmp_path / "a.npz") is None


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", objects=np.array([{}], dtype=object))
    assert read_arrays(tmp_path / "a.npz") is None


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="Cannot write"):
        write_arrays(tmp_path / "gone" / "a.npz", {"key": np.zeros(1)})
