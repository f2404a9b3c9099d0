"""Logits in predictions.npz: what is stored by hand, memory that does not grow, and scores that are added later."""

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from command_line import fit
from prediction_maker import FACTS, N, arrays_of, predicted

from lightning_vision.cli import main
from lightning_vision.errors import DataError, TrainingError
from lightning_vision.results.kept_logits import LOWEST, add_logits, read_logits, relative_logits
from lightning_vision.results.predictions import Predictions
from lightning_vision.results.predictions_file import PredictionsFile
from lightning_vision.results.schema import read_results

C = 4
INF = float("inf")
CLASSES = ("--data.stream=ClassIncremental", "--data.stream.experiences=3", "--data.noise=60")


def with_logits(seed: int, *variants: str, count: int = N, classes: int = C) -> Predictions:
    found, generator = predicted(seed, *variants, count=count), np.random.default_rng(seed)
    shape = (len(variants) or 1, count)
    logits = generator.random((*shape, classes), dtype=np.float32)
    return replace(found, logits=logits.astype(np.float16), largest_logit=generator.random(shape, dtype=np.float32))


class TestRelative:
    def test_by_hand(self) -> None:
        relative, largest = relative_logits(torch.tensor([[[3.0, 5.0, -INF], [-2.0, -2.5, -3.0]]]))
        assert largest.tolist() == [[5.0, -2.0]] and relative.dtype == torch.float16
        assert relative.tolist() == [[[-2.0, 0.0, -INF], [0.0, -0.5, -1.0]]]

    def test_differences_of_large_logits_keep_their_precision(self) -> None:
        """As float16 they would be equal, or infinite; distances of a discriminant may be as large."""
        relative, largest = relative_logits(torch.tensor([[-90_000.0, -90_001.0, -300_000.0]]))
        assert largest.tolist() == [-90_000.0] and relative.tolist() == [[0.0, -1.0, LOWEST]]


def test_they_grow_on_the_disk(tmp_path: Path) -> None:
    """One array (t, N, C) of the variant that was picked, the same however often it was saved."""
    path, once = tmp_path / "predictions.npz", PredictionsFile()
    each = PredictionsFile()
    stream = [(with_logits(0), None), (with_logits(1, "a", "b"), "b"), (with_logits(2, "a", "b"), "a")]
    for found, picked in stream:
        for file in (each, once):
            file.add(found, picked)
        each.save(path, FACTS, found.variants if picked else ())
    once.save(tmp_path / "once.npz", FACTS, ("a", "b"))
    arrays = arrays_of(path)
    assert all(np.array_equal(arrays[key], value) for key, value in arrays_of(tmp_path / "once.npz").items())
    assert arrays["logits"].shape == (3, N, C) and arrays["logits"].dtype == np.float16
    for t, variant in enumerate((0, 1, 0)):
        logits, largest = stream[t][0].logits, stream[t][0].largest_logit
        assert logits is not None and largest is not None
        expected = logits[variant].astype(np.float32) + largest[variant][:, None]
        assert np.array_equal(read_logits(path, t), expected)
    assert np.array_equal(read_logits(path), read_logits(path, 2))


def test_rows_of_an_experience_that_was_not_finished_are_dropped(tmp_path: Path) -> None:
    path, found = tmp_path / "predictions.npz", PredictionsFile()
    for seed in range(3):
        found.add(with_logits(seed), None)
        found.save(path, FACTS, ())
    resumed = PredictionsFile()
    resumed.restore(path, 2, (), None)
    resumed.add(with_logits(7), None)
    resumed.save(path, FACTS, ())
    expected = [logits[0] for seed in (0, 1, 7) if (logits := with_logits(seed).logits) is not None]
    assert np.array_equal(arrays_of(path)["logits"], np.stack(expected))


def test_memory_does_not_grow_with_the_stream(tmp_path: Path) -> None:
    path, found, count = tmp_path / "predictions.npz", PredictionsFile(), 2000
    facts = {"path_hash": np.array(["a"] * count), "part": np.zeros(count, dtype=np.int32)}
    peaks = []
    for seed in range(12):
        found.add(with_logits(seed, count=count, classes=100), None)
        tracemalloc.start()
        found.save(path, facts, ())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    of_one = 2 * count * 100
    assert path.stat().st_size > 12 * of_one and peaks[-1] - peaks[3] < of_one


def test_another_evaluation_replaces_the_last(tmp_path: Path) -> None:
    path, found = tmp_path / "predictions.npz", PredictionsFile()
    for seed in range(2):
        found.add(with_logits(seed), None)
        found.save(path, FACTS, ())
    before = arrays_of(path)
    found.replace_last(with_logits(5))
    found.rewrite(path, ())
    after, newest = arrays_of(path), with_logits(5)
    assert newest.logits is not None and np.array_equal(after["logits"], [before["logits"][0], newest.logits[0]])
    assert np.array_equal(after["largest_logit"][0], before["largest_logit"][0]) and sorted(after) == sorted(before)
    # One that has none leaves none that are of other predictions.
    found.replace_last(predicted(6))
    found.rewrite(path, ())
    assert sorted(arrays_of(path)) == ["confidence", "index", "label", "part", "path_hash", "predicted"]
    # And into a file without logits none are written.
    found.replace_last(with_logits(5))
    found.rewrite(path, ())
    assert "logits" not in arrays_of(path)


class TestRefusals:
    def test_a_file_without(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", index=np.arange(3))
        with pytest.raises(DataError, match=r"a\.npz has no logits\. Expected a run with model\.keep_logits true"):
            read_logits(tmp_path / "a.npz")

    def test_an_experience_that_is_not_there(self, tmp_path: Path) -> None:
        path, found = tmp_path / "a.npz", PredictionsFile()
        found.add(with_logits(0), None)
        found.save(path, FACTS, ())
        with pytest.raises(DataError, match="expected an experience from -1 to 0, found 1"):
            read_logits(path, 1)

    def test_what_is_no_archive(self, tmp_path: Path) -> None:
        (tmp_path / "a.npz").write_bytes(b"nothing")
        with pytest.raises(DataError, match="the logits cannot be read"):
            read_logits(tmp_path / "a.npz")

    @pytest.mark.parametrize("array", [np.zeros((2, 3, 4)), np.zeros((3, 4), np.float16)])
    def test_an_array_of_another_kind(self, array: npt.NDArray[np.generic], tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", logits=array)
        with pytest.raises(DataError, match="expected float16 by experience, image and class, found"):
            read_logits(tmp_path / "a.npz")

    def test_a_former_file_of_other_images(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "former.npz", index=np.arange(3))
        add_logits(tmp_path / "former.npz", [np.zeros((3, C), np.float16)])
        np.savez(tmp_path / "new.npz", index=np.arange(5))
        with pytest.raises(ValueError, match=r"expected logits of 1 experience.*found 1 of 3 images and 4 classes"):
            add_logits(tmp_path / "new.npz", [np.zeros((5, C), np.float16)], tmp_path / "former.npz", 1)

    def test_a_file_whose_logits_are_cut_off(self, tmp_path: Path) -> None:
        path, found = tmp_path / "a.npz", PredictionsFile()
        found.add(with_logits(0), None)
        found.save(path, FACTS, ())
        arrays: dict[str, Any] = arrays_of(path)
        arrays["logits"] = arrays["logits"][:, :3]
        np.savez(path, **arrays)
        found.add(with_logits(1), None)
        with pytest.raises(TrainingError, match=r"found 1 of 3 images and 4 classes\. Restore the file"):
            found.save(path, FACTS, ())

    def test_a_file_whose_logits_are_gone(self, tmp_path: Path) -> None:
        path, found = tmp_path / "a.npz", PredictionsFile()
        found.add(predicted(0), None)
        found.save(path, FACTS, ())
        found.add(with_logits(1), None)
        with pytest.raises(TrainingError, match=r"after 1 experience in .*largest_logit"):
            found.save(path, FACTS, ())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red and green, then blue, then grey, by class means: one experience a process that was stopped and resumed."""
    folder, options = (
        tmp_path_factory.mktemp("runs"),
        (*CLASSES, "--model.strategy=NearestMean", "--model.keep_logits=true"),
    )
    fit(folder, "kept", *options, "--stop_after=1")
    return fit(folder, "kept", *options, "--ckpt_path=last")


def test_predictions_and_task_accuracy_follow_from_them(run: Path) -> None:
    """What the run counted itself is counted again from its file alone."""
    results, file = read_results(run / "results.json"), arrays_of(run / "predictions.npz")
    assert results.task is not None and file["class_names"].tolist() == results.class_names
    assert file["logits"].shape == (3, len(file["label"]), 4)
    classes = [record.classes for record in results.experiences]
    task_of_class = np.array([next(t for t, own in enumerate(classes) if c in own) for c in range(4)])
    seen: set[int] = set()
    for t in range(3):
        seen |= set(classes[t])
        logits = read_logits(run / "predictions.npz", t)
        assert np.array_equal(logits.argmax(axis=1), file["predicted"][t])
        assert np.array_equal(np.isfinite(logits).all(axis=0), [c in seen for c in range(4)])
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        np.testing.assert_allclose((p / p.sum(axis=1, keepdims=True)).max(axis=1), file["confidence"][t], atol=2e-3)
        elsewhere = task_of_class != task_of_class[file["label"]][:, None]
        within = np.where(elsewhere, -INF, logits).argmax(axis=1) == file["label"]
        of_seen = np.isin(file["label"], sorted(seen))
        assert within[of_seen].mean() == results.task.accuracy[t]
        assert [float(within[file["part"] == i].mean()) for i in range(t + 1)] == results.task.accuracy_matrix[t][
            : t + 1
        ]
        assert (results.task.accuracy[t] or 0) >= (results.seen_accuracy[t] or 0)


def test_testing_again_writes_the_same(run: Path) -> None:
    before = arrays_of(run / "predictions.npz")
    assert main(["test", f"--ckpt_path={run}"]) == 0
    after = arrays_of(run / "predictions.npz")
    assert sorted(after) == sorted(before) and after["logits"].shape == before["logits"].shape
    np.testing.assert_allclose(read_logits(run / "predictions.npz"), before["logits"][-1] + before["largest_logit"][-1][:, None], atol=2e-2)  # fmt: skip


def test_a_run_without_the_option_keeps_none(tmp_path: Path) -> None:
    run = fit(tmp_path, "plain", "--data.stream=Joint", "--model.strategy=NearestMean")
    assert not {"logits", "largest_logit", "class_names"} & set(arrays_of(run / "predictions.npz"))
