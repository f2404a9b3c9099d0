"""predictions.npz, whole, half and hostile."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_maker import make_run

from lightning_vision.errors import DataError
from lightning_vision.report.gather import gather
from lightning_vision.report.predictions import key_of_test_set, read_predictions

NAMES = ["ant", "bee", "cat"]


def spoilt(folder: Path, **arrays: Any) -> Path:
    path = make_run(folder / "a") / "predictions.npz"
    with np.load(path) as file:
        kept = {key: file[key] for key in file.files}
    kept |= arrays
    np.savez(path, **{key: value for key, value in kept.items() if value is not None})
    return path


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"label": np.zeros(7, np.int64)}, "do not match each other"),
        ({"label": np.zeros((60, 1), np.int64)}, "do not match each other"),
        ({"label": np.array(3)}, "do not match each other"),
        ({"label": np.full(60, 0.5)}, "do not match each other"),
        ({"predicted": np.zeros(60, np.int64)}, "do not match each other"),
        ({"confidence": np.zeros((2, 60), np.float32)}, "do not match each other"),
        ({"predicted": np.full((3, 60), 3)}, "has classes that are not among the 3"),
        ({"label": np.full(60, -1)}, "has classes that are not among the 3"),
        ({"part": np.zeros(7, np.int32)}, "do not match each other"),
        ({"part": np.zeros(60)}, "do not match each other"),
        ({"group": np.zeros(60, np.int64)}, "do not match each other"),
        ({"group": np.array([["a"]] * 60)}, "do not match each other"),
        ({"group": np.array([{}] * 60)}, "cannot be read"),  # pickled objects
        ({"label": None}, "cannot be read"),
        ({"path_hash": np.array([{}] * 60)}, "cannot be read"),  # pickled objects
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, arrays: dict[str, Any], why: str) -> None:
    path = spoilt(tmp_path, **arrays)
    with pytest.raises(DataError, match=why):
        read_predictions(path, NAMES, NAMES)
    (group,) = gather([tmp_path]).groups
    assert group.runs[0].predictions() is None
    assert any("its predictions cannot be used" in remark for remark in group.remarks)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"nothing of it"])
def test_files_that_are_none(tmp_path: Path, content: bytes) -> None:
    path = make_run(tmp_path / "a") / "predictions.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        read_predictions(path, NAMES, NAMES)


def test_a_truncated_file(tmp_path: Path) -> None:
    path = make_run(tmp_path / "a") / "predictions.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="cannot be read"):
        read_predictions(path, NAMES, NAMES)


def test_a_single_array(tmp_path: Path) -> None:
    with (tmp_path / "predictions.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match="found a single one"):
        read_predictions(tmp_path / "predictions.npz", NAMES, NAMES)


def test_a_file_that_would_fill_the_memory_is_not_unpacked(tmp_path: Path) -> None:
    path = make_run(tmp_path / "a") / "predictions.npz"
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as file, file.open("big.npy", "w") as inner:
        header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (200000000,), }"
        inner.write(b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n")
    read_predictions(path, NAMES, NAMES)  # what is not asked for is not read
    with zipfile.ZipFile(path, "w") as file:
        for name in ("index", "path_hash", "label", "predicted", "confidence"):
            with file.open(f"{name}.npy", "w") as inner:
                inner.write(b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n")
    with pytest.raises(DataError, match="cannot be read"):
        read_predictions(path, NAMES, NAMES)


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"part": np.full(60, 3)}, "has test parts beyond the 3 experiences"),
        ({"part": np.full(60, -1)}, "has test parts beyond the 3 experiences"),
        ({"predicted": np.zeros((3, 60), np.int64)}, "does not match results.json"),
    ],
)
def test_what_contradicts_the_results_is_not_used(tmp_path: Path, arrays: dict[str, Any], why: str) -> None:
    spoilt(tmp_path, **arrays)
    (group,) = gather([tmp_path]).groups
    assert group.runs[0].predictions() is None
    assert any(why in remark for remark in group.remarks)
    assert group.ranking.methods[0].accuracy.low is None


def test_files_of_older_versions_are_read(tmp_path: Path) -> None:
    found = read_predictions(spoilt(tmp_path, part=None), NAMES, NAMES)
    assert found.part is None and found.group is None


def test_a_run_killed_between_its_files_has_one_experience_more(tmp_path: Path) -> None:
    path = make_run(tmp_path / "a", [0.5, 0.6, 0.7]) / "predictions.npz"
    make_run(tmp_path / "b", [0.5, 0.6], experiences=3)
    (tmp_path / "b" / "predictions.npz").write_bytes(path.read_bytes())
    (run,) = gather([tmp_path / "b"]).groups[0].runs
    predictions = run.predictions()
    assert predictions is not None and predictions.predicted.shape == predictions.confidence.shape == (2, 60)


def test_predictions_of_fewer_experiences_do_not_go_with_the_results(tmp_path: Path) -> None:
    path = make_run(tmp_path / "a", [0.5, 0.6], experiences=3) / "predictions.npz"
    run = make_run(tmp_path / "b", [0.5, 0.6, 0.7])
    (run / "predictions.npz").write_bytes(path.read_bytes())
    (group,) = gather([run]).groups
    assert group.runs[0].predictions() is None
    assert any("holds 2 of the 3 experiences" in remark for remark in group.remarks)


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    path = make_run(tmp_path / "a") / "predictions.npz"
    own, turned = read_predictions(path, NAMES, NAMES), read_predictions(path, NAMES, ["cat", "bee", "ant"])
    assert turned.label.tolist() == (2 - own.label).tolist()
    assert turned.predicted.tolist() == (2 - own.predicted).tolist()
    assert key_of_test_set(own, NAMES) == key_of_test_set(turned, ["cat", "bee", "ant"])
    assert key_of_test_set(own, NAMES) != key_of_test_set(own, ["bee", "ant", "cat"])


def test_frames_of_one_video_keep_their_places(tmp_path: Path) -> None:
    """Several test images of one path differ by their rows."""
    index = np.array([5, 3, 4, 9])
    path = spoilt(
        tmp_path, index=index, path_hash=np.array(["b", "a", "a", "a"]), label=np.array([0, 1, 2, 0]),
        predicted=np.zeros((3, 4), np.int32), confidence=np.zeros((3, 4), np.float32), part=np.array([0, 1, 1, 2]),
    )  # fmt: skip
    found = read_predictions(path, NAMES, NAMES)
    assert found.keys.tolist() == ["b", "a 0 of 3", "a 1 of 3", "a 2 of 3"], "so that frames match those of another run"
    assert found.index[found.order].tolist() == [3, 4, 9, 5]
