"""predictions.npz grows by a row with each experience, and earlier rows stay on the disk."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from prediction_maker import FACTS, N, arrays_of, predicted

from lightning_vision.errors import TrainingError
from lightning_vision.results.predictions_file import PredictionsFile


def test_saved_after_each_experience_or_once_it_is_the_same(tmp_path: Path) -> None:
    """Variants begin with the first increment; before it all are the base."""
    stream = [(predicted(0), None), (predicted(1, "a", "b"), "b"), (predicted(2, "a", "b"), "a")]
    each, once = PredictionsFile(), PredictionsFile()
    for found, picked in stream:
        each.add(found, picked)
        each.save(tmp_path / "each.npz", FACTS, found.variants if picked else ())
        once.add(found, picked)
    once.save(tmp_path / "once.npz", FACTS, ("a", "b"))
    mine, other = arrays_of(tmp_path / "each.npz"), arrays_of(tmp_path / "once.npz")
    assert list(mine) == list(other) and all(np.array_equal(mine[key], other[key]) for key in mine)
    (base, _), (first, _), (second, _) = stream
    assert mine["predicted"].tolist() == [
        *base.predicted.tolist(),
        first.predicted[1].tolist(),
        second.predicted[0].tolist(),
    ]
    assert mine["predicted/b"].tolist() == [
        *base.predicted.tolist(),
        first.predicted[1].tolist(),
        second.predicted[1].tolist(),
    ]
    assert mine["confidence/a"].tolist() == [
        *base.confidence.tolist(),
        first.confidence[0].tolist(),
        second.confidence[0].tolist(),
    ]
    assert mine["predicted"].dtype == np.int32 and mine["confidence"].dtype == np.float32


def test_rows_of_an_experience_that_was_not_finished_are_dropped(tmp_path: Path) -> None:
    path, found = tmp_path / "predictions.npz", PredictionsFile()
    for seed in range(3):
        found.add(predicted(seed), None)
        found.save(path, FACTS, ())
    resumed = PredictionsFile()
    resumed.restore(path, 2, (), None)
    assert np.array_equal(resumed.last.predicted, predicted(1).predicted)
    resumed.add(predicted(7), None)
    resumed.save(path, FACTS, ())
    assert arrays_of(path)["predicted"].tolist() == [predicted(seed).predicted[0].tolist() for seed in (0, 1, 7)]


def test_the_probe_s_predictions_are_kept_and_a_gap_is_minus_one(tmp_path: Path) -> None:
    """A probe after the first and the last of three experiences, with a restart before the last."""
    path, found, probed = tmp_path / "predictions.npz", PredictionsFile(), [np.arange(N) % 3, (np.arange(N) + 1) % 3]
    found.add(predicted(0), None)
    found.add_probe(probed[0])
    found.save(path, FACTS, ())
    found.add(predicted(1), None)
    found.save(path, FACTS, ())
    found = PredictionsFile()
    found.restore(path, 2, (), None)
    found.add(predicted(2, "a", "b"), "b")
    found.add_probe(probed[1])
    found.save(path, FACTS, ("a", "b"))
    kept = arrays_of(path)["probe_predicted"]
    assert kept.tolist() == [probed[0].tolist(), [-1] * N, probed[1].tolist()] and kept.dtype == np.int32


def test_memory_does_not_grow_with_the_stream(tmp_path: Path) -> None:
    path, found, count = tmp_path / "predictions.npz", PredictionsFile(), 20_000
    facts = {"path_hash": np.array(["a"] * count), "part": np.zeros(count, dtype=np.int32)}
    held = []
    tracemalloc.start()
    for seed in range(30):
        found.add(predicted(seed, "a", "b", count=count), "a")
        found.save(path, facts, ("a", "b"))
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[-1] - held[4] < 4 * count, "bytes; the predictions of each of 25 experiences have 24 an image"


def test_a_file_that_vanished(tmp_path: Path) -> None:
    path, found = tmp_path / "predictions.npz", PredictionsFile()
    found.add(predicted(0), None)
    found.save(path, FACTS, ())
    path.unlink()
    found.add(predicted(1), None)
    with pytest.raises(TrainingError, match=r"after 1 experience in .*predictions\.npz, but: .* Restore"):
        found.save(path, FACTS, ())


def test_without_predictions() -> None:
    with pytest.raises(ValueError, match="no predictions before the first experience"):
        _ = PredictionsFile().last
