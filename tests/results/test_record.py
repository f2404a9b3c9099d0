"""A run's figures, row by row, against accuracies counted by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from coloured_squares import ColouredSquares

from lightning_vision.data.scenarios import ClassIncremental, FromColumn, InstanceIncremental, Joint, Scenario
from lightning_vision.errors import CheckpointError
from lightning_vision.results import schema
from lightning_vision.results.array_rows import LARGEST
from lightning_vision.results.environment import environment, path_hashes
from lightning_vision.results.predictions import Predictions
from lightning_vision.results.record import StreamRecord, group_hashes, task_of_class
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.storage.sparse_counts import SparseCounts

NAMES = ["red", "green", "blue", "grey"]


def record(
    scenario: Scenario, names: list[str] = NAMES
) -> tuple[StreamRecord, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """An empty record, the test images' rows and labels."""
    data = ColouredSquares(stream=scenario)
    pairs = sorted((int(row), e.index) for e in data.stream for row in e.test_indices)
    index = np.array([row for row, _ in pairs])
    parts = np.array([part for _, part in pairs])
    return StreamRecord(data.stream, names, parts), index, data.samples["label"].to_numpy()[index]


def predictions(
    index: npt.NDArray[np.int64], label: npt.NDArray[np.int64], **variants: npt.NDArray[np.int64]
) -> Predictions:
    predicted = np.stack(list(variants.values()))
    confidence = np.full(predicted.shape, 0.75, dtype=np.float32)
    return Predictions(index, label, predicted, confidence, tuple(name.replace("only", "") for name in variants))


def price(t: int, *, energy: float | None = 2.0) -> schema.ExperienceRecord:
    carbon = None if energy is None else energy / 4
    return schema.ExperienceRecord(
        index=t, name=f"e{t}", classes=[0], train_samples=10, val_samples=2, test_samples=3, epochs=1, stopped_early=False,
        seconds=3.0, samples_per_second=None, energy_kwh=energy, co2eq_kg=carbon, trainable_parameters=1,
        peak_memory_bytes=None, backbone_images=40,
        evaluation=schema.Evaluation(seconds=1.0, energy_kwh=energy, co2eq_kg=carbon, images=7),
    )  # fmt: skip


def results_of(found: StreamRecord) -> schema.Results:
    component = schema.Component(class_path="a.B")
    return found.results(
        run=schema.Run(
            name="r", strategy=component, base_strategy=None, data={}, scenario="s", experiences=3, seed=0,
            stream_hash="a", split_hash="b", config_hash="c", complete=False,
        ),
        network=schema.Network(backbone="none", total_parameters=1, macs=None),
        energy=None,
        environment=environment("cpu", 1, "32-true"),
    )  # fmt: skip


class TestRows:
    def test_a_row_is_the_accuracy_on_each_test_part(self) -> None:
        found, index, label = record(InstanceIncremental(experiences=3))
        wrong = label.copy()
        first, last = found.test_parts == 0, found.test_parts == 2
        wrong[np.flatnonzero(first)[:2]] = 3 - wrong[np.flatnonzero(first)[:2]]
        wrong[last] = (wrong[last] + 1) % 4
        assert found.row(0, predictions(index, label, only=wrong)) == [1 - 2 / first.sum(), 1.0, 0.0]

    def test_classes_to_come_have_no_accuracy(self) -> None:
        found, index, label = record(ClassIncremental(experiences=3))
        nothing = predictions(index, label, only=np.zeros_like(label))
        rows = [found.row(t, nothing) for t in range(3)]
        assert [[value is None for value in row] for row in rows] == [
            [False, True, True],
            [False, False, True],
            [False, False, False],
        ]
        assert rows[0][0] == 0.5, "red of red and green"

    def test_chance_is_measured_on_every_part(self) -> None:
        """All classes are allowed before anything is learned, so that nothing is undefined."""
        found, index, label = record(ClassIncremental(experiences=3))
        assert found.row(-1, predictions(index, label, only=label)) == [1.0, 1.0, 1.0]

    def test_accuracy_on_the_classes_seen(self) -> None:
        found, index, label = record(ClassIncremental(experiences=3))
        seen = np.isin(label, found.stream[0].seen_classes)
        found.add(
            predictions(index, label, only=np.where(seen, label, 0)),
            predictions(index, label, only=label),
            "",
            {},
            price(0),
        )
        assert found.seen_accuracy == [1.0] and found.test_accuracy == [0.5]


class TestTask:
    """Accuracy where each image's experience is given: red and green, then blue, then grey."""

    def test_counted_by_hand(self) -> None:
        found, index, label = record(ClassIncremental(experiences=3))
        nothing = predictions(index[:0], label[:0], only=label[:0])
        red = np.flatnonzero(label == 0)
        within = label.copy()
        within[red[0]] = 1
        for t in range(2):
            shown = predictions(index, label, only=np.zeros_like(label))
            found.add(replace(shown, task_predicted=within[None]), nothing, "", {}, price(t))
        assert found.seen_accuracy[1] == len(red) / np.isin(label, [0, 1, 2]).sum()
        task = results_of(found).task
        assert task is not None
        first = 1 - 1 / np.isin(label, [0, 1]).sum()
        assert task.accuracy_matrix == [[first, None, None], [first, 1.0, None]]
        assert task.accuracy == [first, 1 - 1 / np.isin(label, [0, 1, 2]).sum()]

    def test_rows_that_were_not_measured_are_null(self, tmp_path: Path) -> None:
        """A run that version 0.1 began has none, and resumes."""
        found, index, label = record(ClassIncremental(experiences=3))
        nothing = predictions(index[:0], label[:0], only=label[:0])
        found.add(predictions(index, label, only=label), nothing, "", {}, price(0))
        former = results_of(found).model_copy(update={"task": None})
        found.save_predictions(tmp_path / "predictions.npz", path_hashes([str(row) for row in index]))
        resumed, _, _ = record(ClassIncremental(experiences=3))
        resumed.restore(former, RunDirectory(tmp_path))
        shown = predictions(index, label, only=label)
        resumed.add(replace(shown, task_predicted=label[None]), nothing, "", {}, price(1))
        task = results_of(resumed).task
        assert task is not None and task.accuracy == [None, 1.0]
        assert task.accuracy_matrix == [[None, None, None], [1.0, 1.0, None]]

    def test_none_where_experiences_share_classes(self) -> None:
        found, index, label = record(InstanceIncremental(experiences=3))
        found.add(
            predictions(index, label, only=label), predictions(index[:0], label[:0], only=label[:0]), "", {}, price(0)
        )
        assert results_of(found).task is None
        assert task_of_class(found.stream, 4) is None

    def test_any_scenario_whose_experiences_share_none(self) -> None:
        """The user's own order may bring classes one after the other; one experience alone has nothing to be told apart."""
        apart = ColouredSquares(arrivals=[{"red": 6, "green": 6}, {"blue": 4}], stream=FromColumn("arrival"))
        tasks = task_of_class(apart.stream, 4)
        assert tasks is not None and tasks.tolist() == [0, 0, 1, -1]
        again = ColouredSquares(arrivals=[{"red": 6, "green": 6}, {"blue": 4, "red": 4}], stream=FromColumn("arrival"))
        assert task_of_class(again.stream, 4) is None
        assert task_of_class(ColouredSquares(stream=Joint()).stream, 4) is None

    def test_the_experience_of_each_class(self) -> None:
        found, _, _ = record(ClassIncremental(experiences=3))
        tasks = task_of_class(found.stream, 5)
        assert tasks is not None and tasks.tolist() == [0, 0, 1, 2, -1]


class TestVariants:
    def test_what_happened_before_them_is_everyones(self) -> None:
        """The base has no variants: each variant's figures begin with the base's."""
        found, index, label = record(InstanceIncremental(experiences=3))
        half = np.where(np.arange(len(label)) % 2, label, (label + 1) % 4)
        found.add(
            predictions(index, label, only=half), predictions(index[:0], label[:0], only=label[:0]), "", {}, price(0)
        )
        after = predictions(index, label, a=half, b=label)
        found.add(
            after, predictions(index[:4], label[:4], a=label[:4], b=half[:4]), "a", {"b": {"f": {"red": 0.5}}}, price(1)
        )
        assert found.picked == [None, "a"]
        assert found.test_accuracy == [0.5, 0.5]
        assert found.variants["b"].test_accuracy == [0.5, 1.0]
        assert found.variants["b"].val_accuracy == [None, 0.5] and found.variants["a"].val_accuracy == [None, 1.0]
        assert found.variants["b"].accuracy_matrix[0] == found.accuracy_matrix[0]
        assert found.variants["b"].accuracy_matrix[1] == [1.0, 1.0, 1.0]
        assert found.variants["b"].extra == {"f": {"red": 0.5}} and found.variants["a"].extra == {}
        assert found.last_predictions.variants == ("a",)
        assert found.first_test is not None and found.first_test.accuracy == 0.5
        results = results_of(found)
        assert results.picked_variant == [None, "a"] and results.test.accuracy == 0.5

    def test_a_single_variant_is_no_sweep(self) -> None:
        found, index, label = record(InstanceIncremental(experiences=3))
        found.add(predictions(index, label, a=label), predictions(index, label, a=label), "a", {}, price(0))
        assert found.variants == {} and results_of(found).picked_variant is None
        assert found.test_accuracy == [1.0]


class TestResults:
    def test_totals(self) -> None:
        found, index, label = record(InstanceIncremental(experiences=3))
        one = predictions(index, label, only=label)
        found.add(one, one, "", {}, price(0))
        found.add(one, one, "", {}, price(1, energy=None))
        results = results_of(found)
        assert results.totals.seconds == 8.0 and results.totals.backbone_images == 2 * (40 + 7)
        assert results.totals.energy_kwh == 4.0 and results.totals.co2eq_kg == 1.0, (
            "what was not measured is not in the sum"
        )
        assert results.base.seconds == 3.0 and results.base.energy_kwh == 2.0
        assert results.forgetting == 0.0 and results.forward_transfer is None

    def test_nothing_was_measured(self) -> None:
        found, index, label = record(InstanceIncremental(experiences=3, base_fraction=0))
        one = predictions(index, label, only=label)
        found.add(one, one, "", {}, price(0, energy=None))
        results = results_of(found)
        assert results.totals.energy_kwh is None and results.base.seconds == 0.0
        assert results.forgetting is None and results.backward_transfer is None

    def test_before_the_first_experience_there_are_none(self) -> None:
        with pytest.raises(ValueError, match="no results before the first experience"):
            results_of(record(InstanceIncremental(experiences=3))[0])


class TestRestore:
    @pytest.fixture
    def saved(self, tmp_path: Path) -> tuple[StreamRecord, RunDirectory]:
        found, index, label = record(InstanceIncremental(experiences=3))
        found.chance = [0.25, None, 0.5]
        found.notes.append("a note")
        other = (label + 1) % 4
        one = predictions(index, label, only=label)
        found.add(one, one, "", {}, price(0))
        two = predictions(index, label, a=label, b=other)
        found.add(two, two, "b", {}, price(1))
        directory = RunDirectory(tmp_path)
        found.save_predictions(directory.predictions, path_hashes([str(row) for row in index]))
        schema.write_results(results_of(found), directory.results)
        return found, directory

    def test_a_record_continues(self, saved: tuple[StreamRecord, RunDirectory]) -> None:
        before, directory = saved
        after = record(InstanceIncremental(experiences=3))[0]
        after.restore(schema.read_results(directory.results), directory)
        assert results_of(after) == results_of(before)
        index, label = before.test_index, before.last_predictions.label
        third = predictions(index, label, a=label, b=label)
        for each in (before, after):
            each.add(third, third, "a", {}, price(2))
        assert results_of(after) == results_of(before)
        for each, name in ((before, "before.npz"), (after, "after.npz")):
            each.save_predictions(directory.path / name, path_hashes([str(row) for row in index]))
        with np.load(directory.path / "before.npz") as one, np.load(directory.path / "after.npz") as two:
            assert one.files == two.files
            assert all(np.array_equal(one[key], two[key]) for key in one.files)

    def test_a_record_of_many_classes_continues(self, tmp_path: Path) -> None:
        """Its confusions come from a file beside results.json, and are held without their empty cells."""
        many = [*NAMES, *(f"class {number}" for number in range(LARGEST))]
        before, index, label = record(InstanceIncremental(experiences=3), many)
        before.chance = [0.25, None, 0.5]
        for t in range(2):
            found = predictions(index, label, a=(label + t) % len(many), b=len(many) - 1 - label)
            before.add(found, found, "ab"[t], {}, price(t))
        directory = RunDirectory(tmp_path)
        before.save_predictions(directory.predictions, path_hashes([str(row) for row in index]))
        schema.write_results(results_of(before), directory.results)
        after = record(InstanceIncremental(experiences=3), many)[0]
        after.restore(schema.read_results(directory.results), directory)
        third = predictions(index, label, a=label, b=(label + 7) % len(many))
        for t in range(2, 4):
            assert after.test is not None and after.first_test is not None
            for scores in (after.test, after.first_test, *(variant.test for variant in after.variants.values())):
                counts = scores.confusion_matrix
                assert isinstance(counts, SparseCounts) and counts.counts.sum() == len(label)
            assert results_of(after) == results_of(before)
            if t == 2:
                for each in (before, after):
                    each.add(third, third, "b", {}, price(2))

    def test_predictions_that_do_not_go_with_the_results(self, saved: tuple[StreamRecord, RunDirectory]) -> None:
        _, directory = saved
        results = schema.read_results(directory.results)
        with np.load(directory.predictions) as file:
            arrays = {key: file[key] for key in file.files}
        np.savez(directory.predictions, **{key: value for key, value in arrays.items() if key != "predicted/b"})
        fresh = record(InstanceIncremental(experiences=3))[0]
        with pytest.raises(CheckpointError, match=r"predictions\.npz does not go with .*results\.json"):
            fresh.restore(results, directory)
        directory.predictions.write_bytes(directory.predictions.read_bytes()[:300])
        with pytest.raises(CheckpointError, match=r"predictions\.npz does not go with .*results\.json"):
            fresh.restore(results, directory)
        directory.predictions.unlink()
        with pytest.raises(CheckpointError, match=r"predictions\.npz does not go with .*results\.json"):
            fresh.restore(results, directory)


def test_path_hashes_match_images_across_runs() -> None:
    one, two = path_hashes(["a/1.png", "a/2.png"]), path_hashes(["a/2.png"])
    assert one.dtype == np.dtype("<U16") and one[1] == two[0] != one[0]


def test_the_groups_of_test_images_are_alike_in_every_run() -> None:
    table = pd.DataFrame(
        {"path": ["a", "a", "b", "c", "d"], "frame": [0, 1, -1, -1, -1], "group": ["a", "a", "g", None, None]}
    )
    found = group_hashes(table)
    assert found is not None and found.dtype == np.dtype("<U16")
    assert len(set(found.tolist())) == 4 and found[0] == found[1], (
        "two frames of a video, a group of one, two images alone"
    )
    turned = group_hashes(table[::-1])
    assert turned is not None and turned.tolist() == found[::-1].tolist()
    numbered = group_hashes(table.assign(group=[1, 1, 2, 2, 3]))
    assert numbered is not None and len(set(numbered.tolist())) == 3
    named = group_hashes(table.assign(path=["g"] * 5, frame=[0, 1, 2, 3, 4]))
    assert named is not None and len(set(named.tolist())) == 4, "an image is not taken for the group of its name"


def test_without_groups_there_are_none(tmp_path: Path) -> None:
    table = pd.DataFrame({"path": ["a", "b"]})
    assert group_hashes(table) is None and group_hashes(table.assign(group=None)) is None
    found, index, label = record(InstanceIncremental(experiences=3))
    one = predictions(index, label, only=label)
    found.add(one, one, "", {}, price(0))
    for groups, keys in ((None, {"part"}), (path_hashes([str(row // 2) for row in index]), {"part", "group"})):
        found.save_predictions(tmp_path / "p.npz", path_hashes([str(row) for row in index]), groups)
        with np.load(tmp_path / "p.npz", allow_pickle=False) as file:
            assert set(file.files) == {"index", "path_hash", "label", "predicted", "confidence", *keys}
            assert file["part"].tolist() == found.test_parts.tolist()
            assert groups is None or file["group"].tolist() == groups.tolist()


def test_the_environment_names_what_decides_a_result() -> None:
    found = environment("cpu", 2, "bf16-mixed").model_dump()
    assert {"torch", "torchvision", "lightning", "timm", "python", "platform", "git_commit"} <= found.keys()
    assert (found["device"], found["devices"], found["precision"]) == ("cpu", 2, "bf16-mixed")
