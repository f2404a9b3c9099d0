"""Matrices of many experiences or classes, which have a file of their own beside results.json."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_results import NAN, made
from pydantic import ValidationError

from lightning_vision.errors import CheckpointError
from lightning_vision.results import schema as module
from lightning_vision.results.schema import Results, read_results, write_results
from lightning_vision.results.scores import score_predictions


class TestMatricesOfTheirOwn:
    """Over 200 experiences or classes, matrices are kept in files beside results.json."""

    def large(self, classes: int = 201, experiences: int = 201) -> Results:
        names = [f"class {number}" for number in range(classes)]
        label = np.arange(classes)
        scores = score_predictions(label, np.minimum(label + 1, classes - 1), np.full(classes, 0.5), names)
        row = [0.25, *[None] * (experiences - 1)]
        values = made().model_dump(by_alias=True)
        values |= {
            "class_names": names,
            "accuracy_matrix": [row],
            "task": {"accuracy": [0.5], "accuracy_matrix": [row]},
        }
        values |= {"test": scores, "first_test": scores, "forgetting": None, "chance": [0.5, None]}
        values["variants"]["epsilon=1e-06"] |= {"test": scores, "accuracy_matrix": [row]}
        return Results.model_validate(values)

    def test_all_are_read_back(self, tmp_path: Path) -> None:
        path, results = tmp_path / "results.json", self.large()
        write_results(results, path)
        content = json.loads(path.read_text())
        variant = content["variants"]["epsilon=1e-06"]
        assert content["accuracy_matrix"] is content["task"]["accuracy_matrix"] is variant["accuracy_matrix"] is None
        assert content["test"]["confusion_matrix"] is variant["test"]["confusion_matrix"] is None
        assert sorted(content["files"]) == [
            "accuracy_matrix",
            "first_test.confusion_matrix",
            "task.accuracy_matrix",
            "test.confusion_matrix",
            "variants.epsilon=1e-06.accuracy_matrix",
            "variants.epsilon=1e-06.test.confusion_matrix",
        ]
        assert sorted({"results.json", *content["files"].values()}) == sorted(
            found.name for found in tmp_path.iterdir()
        )
        with np.load(tmp_path / content["files"]["test.confusion_matrix"]) as file:
            assert file.files == ["test.confusion_matrix"] and file["test.confusion_matrix"].trace() == 1
        assert np.load(tmp_path / content["files"]["accuracy_matrix"]).shape == (1, 201)
        found = read_results(path)
        assert found.model_copy(update={"files": {}}) == results

    def test_200_stay_in_the_file(self, tmp_path: Path) -> None:
        write_results(self.large(200, 200), tmp_path / "results.json")
        assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
        assert json.loads((tmp_path / "results.json").read_text())["files"] == {}

    def test_only_the_large_ones_leave(self, tmp_path: Path) -> None:
        write_results(self.large(2, 201), tmp_path / "results.json")
        content = json.loads((tmp_path / "results.json").read_text())
        assert content["test"]["confusion_matrix"] == [[0, 1], [0, 1]] and content["accuracy_matrix"] is None

    @pytest.mark.parametrize("count", [255, 256, 2**40])
    def test_counts_of_any_size(self, count: int, tmp_path: Path) -> None:
        path, results = tmp_path / "results.json", self.large()
        results.test.confusion_matrix[3][4] = count
        write_results(results, path)
        assert read_results(path).test.confusion_matrix == results.test.confusion_matrix

    def test_what_is_no_number_is_refused_or_becomes_one(self, tmp_path: Path) -> None:
        path, results = tmp_path / "results.json", self.large()
        matrix: Any = results.test.confusion_matrix
        matrix[3][4], results.accuracy_matrix[0][1:3] = 2.0, [NAN, float("inf")]
        write_results(results, path)
        found = read_results(path)
        assert "test.confusion_matrix" in found.files and found.test.confusion_matrix[3][4] == 2
        assert found.accuracy_matrix[0][:4] == [0.25, None, None, None]
        matrix[3][4] = 2.5
        with pytest.raises(ValidationError, match="confusion_matrix"):
            write_results(results, path)
        assert read_results(path) == found

    def test_the_same_matrices_have_the_same_file(self, tmp_path: Path) -> None:
        path = tmp_path / "results.json"
        write_results(self.large(), path)
        first = read_results(path).files
        write_results(self.large(), path)
        assert read_results(path).files == first

    def test_a_later_writing_replaces_the_file_of_what_changed(self, tmp_path: Path) -> None:
        path = tmp_path / "results.json"
        results = Results.model_validate(self.large().model_dump(by_alias=True))  # without lists that are shared
        write_results(results, path)
        first = read_results(path).files
        written = {name: (tmp_path / name).stat().st_mtime_ns for name in first.values()}
        results.test.confusion_matrix[0][:2] = [1, 0]
        write_results(results, path)
        files = read_results(path).files
        assert files.keys() == first.keys()
        assert [place for place in files if files[place] != first[place]] == ["test.confusion_matrix"]
        assert sorted(found.name for found in tmp_path.iterdir()) == sorted({"results.json", *files.values()})
        kept = [name for name in files.values() if name in written]
        assert all((tmp_path / name).stat().st_mtime_ns == written[name] for name in kept)

    def test_rows_are_appended(self, tmp_path: Path) -> None:
        """To the file that is there, so that a long stream does not write all its rows again after each experience."""
        path, results = tmp_path / "results.json", self.large(2, 201)
        results.experiences[:] = results.experiences[:1]
        write_results(results, path)
        name = read_results(path).files["accuracy_matrix"]
        before, inode = read_results(path), (tmp_path / name).stat().st_ino
        results.experiences.append(results.experiences[0])
        results.accuracy_matrix.append([0.5, 0.75, *[None] * 199])
        with pytest.MonkeyPatch.context() as patch:  # killed after the rows and before results.json
            patch.setattr(module, "write_text_atomically", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                write_results(results, path)
        assert len(np.load(tmp_path / name)) == 2 and read_results(path) == before
        write_results(results, path)
        found = read_results(path)
        assert found.accuracy_matrix == results.accuracy_matrix and found.files == before.files
        assert (tmp_path / name).stat().st_ino == inode
        results.accuracy_matrix[1][0] = 0.25  # the last experience was evaluated again
        write_results(results, path)
        found = read_results(path)
        assert found.accuracy_matrix == results.accuracy_matrix and found.files["accuracy_matrix"] != name
        assert not (tmp_path / name).exists()

    def test_matrices_that_one_file_holds_are_read(self, tmp_path: Path) -> None:
        """As versions before wrote them."""
        path, results = tmp_path / "results.json", self.large()
        write_results(results, path)
        content = json.loads(path.read_text())
        arrays: dict[str, Any] = {}
        for place, name in content["files"].items():
            found = np.load(tmp_path / name)
            arrays[place] = found[place] if name.endswith(".npz") else found
        np.savez(tmp_path / "matrices-0.npz", **arrays)
        path.write_text(json.dumps(content | {"files": dict.fromkeys(arrays, "matrices-0.npz")}))
        assert read_results(path).model_copy(update={"files": {}}) == results

    def test_a_kill_between_the_two_files_changes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, results = tmp_path / "results.json", self.large()
        write_results(results, path)
        before = read_results(path)
        results.test.confusion_matrix[0][:2] = [1, 0]
        with monkeypatch.context() as patch:
            patch.setattr(module, "write_text_atomically", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                write_results(results, path)
        assert read_results(path) == before

    @pytest.mark.parametrize(
        ("spoil", "match"),
        [
            (lambda path: path.unlink(), "No such file"),
            (lambda path: path.write_bytes(path.read_bytes()[:300]), "beside it, but"),
            (lambda path: path.write_bytes(b""), "beside it, but"),
        ],
    )
    @pytest.mark.parametrize("place", ["accuracy_matrix", "test.confusion_matrix"])
    def test_without_its_file(self, tmp_path: Path, spoil: Callable[[Path], object], match: str, place: str) -> None:
        path = tmp_path / "results.json"
        write_results(self.large(), path)
        name = read_results(path).files[place]
        spoil(tmp_path / name)
        with pytest.raises(CheckpointError, match=match) as caught:
            read_results(path)
        assert name in str(caught.value) and "Restore" in str(caught.value)

    def test_a_file_elsewhere_is_not_opened(self, tmp_path: Path) -> None:
        path = tmp_path / "results.json"
        write_results(self.large(), path)
        path.write_text(re.sub(r"matrices-[\w-]+(\.np[yz])", r"../elsewhere\1", path.read_text()))
        with pytest.raises(CheckpointError, match=r"in the folder of results\.json"):
            read_results(path)
