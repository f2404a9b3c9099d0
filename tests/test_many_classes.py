"""Runs of so many classes that no matrix of all pairs is held, drawn or listed."""

import csv
from pathlib import Path

import numpy as np
import pytest
from run_maker import make_run

from lightning_vision.drawing import figures
from lightning_vision.report.class_order import in_class_order
from lightning_vision.report.confusions import MOST_CONFUSED, confusion_data
from lightning_vision.report.gather import gather
from lightning_vision.report.page import write_report
from lightning_vision.report.soundness import check_results
from lightning_vision.results import scores
from lightning_vision.results.array_rows import count_rows
from lightning_vision.results.schema import read_results, without_measurements, write_results
from lightning_vision.storage.sparse_counts import SparseCounts

CLASSES = 1500
NAMES = [f"class {number:04d}" for number in range(CLASSES)]


def matrix() -> SparseCounts:
    """Of 3,000 images, of which 70 % are classified correctly."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), 2)
    predicted = np.where(rng.random(len(labels)) < 0.7, labels, rng.integers(0, CLASSES, len(labels)))
    return SparseCounts.of_predictions(labels, predicted, CLASSES)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("many") / "run", (0.9, 0.7), classes=NAMES, images=2 * CLASSES)


class TestSparseCounts:
    def test_it_says_what_the_whole_matrix_does(self) -> None:
        dense = np.random.default_rng(1).integers(0, 3, (6, 6))
        sparse = SparseCounts.of(dense)
        assert (
            sparse == dense.tolist() and sparse.tolist() == dense.tolist() and np.array_equal(np.asarray(sparse), dense)
        )
        assert (
            sparse[2] == dense[2].tolist() and sparse[-1] == dense[-1].tolist() and sparse[1:3] == dense[1:3].tolist()
        )
        assert len(sparse) == 6 and [sum(row) for row in sparse] == sparse.support.tolist()
        assert np.array_equal(sparse.support, dense.sum(1)) and np.array_equal(sparse.predicted, dense.sum(0))
        assert np.array_equal(sparse.correct, np.diag(dense))
        assert np.array_equal(sparse.part(np.array([1, 4]), np.array([0, 3])), dense[np.ix_([1, 4], [0, 3])])
        numbers = [3, 1, 5, 0, 2, 4]
        order = np.argsort(numbers)
        assert sparse.renumbered(numbers) == dense[np.ix_(order, order)].tolist()
        assert sparse != SparseCounts.of(dense.T) and sparse != "counts"

    @pytest.mark.parametrize(
        ("places", "counts"), [([4], [1]), ([-1], [1]), ([1, 1], [1, 1]), ([2, 1], [1, 1]), ([1], [])]
    )
    def test_cells_outside_or_out_of_order_are_refused(self, places: list[int], counts: list[int]) -> None:
        with pytest.raises(ValueError, match="from 0 to 3"):
            SparseCounts(2, places, counts)

    def test_scores_are_those_of_the_whole_matrix(self) -> None:
        sparse = matrix()
        dense = np.asarray(sparse)
        assert scores.accuracy(sparse) == scores.accuracy(dense) == np.trace(dense) / dense.sum()
        assert scores.per_class(sparse) == scores.per_class(dense)
        assert scores.top_confusions(sparse, NAMES) == scores.top_confusions(dense, NAMES)
        assert scores.macro_f1(sparse) == scores.macro_f1(dense)


class TestFiles:
    def test_results_are_small_and_come_back(self, run: Path, tmp_path: Path) -> None:
        results = read_results(run / "results.json")
        assert isinstance(results.test.confusion_matrix, SparseCounts)
        write_results(results, tmp_path / "results.json")
        size = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
        assert size.pop("results.json") < 1_000_000
        assert len(size) == 2 and all(name.startswith("matrices-") and size[name] < 50_000 for name in size)
        assert read_results(tmp_path / "results.json").test == results.test
        assert without_measurements(results)["test"]["confusion_matrix"] == results.test.confusion_matrix.tolist()

    def test_a_damaged_matrix_is_refused(self, run: Path, tmp_path: Path) -> None:
        write_results(read_results(run / "results.json"), tmp_path / "results.json")
        path = tmp_path / read_results(tmp_path / "results.json").files["test.confusion_matrix"]
        with np.load(path) as file:
            arrays = dict(file)
        del arrays["test.confusion_matrix/counts"]
        np.savez(path.with_suffix(""), **arrays)
        with pytest.raises(Exception, match=r"Expected the matrices of .*results\.json"):
            read_results(tmp_path / "results.json")

    def test_the_table_lists_the_pairs_that_have_images(self, tmp_path: Path) -> None:
        figures.confusion_csv(matrix(), NAMES, tmp_path / "c.csv")
        with (tmp_path / "c.csv").open(newline="") as file:
            header, *rows = csv.reader(file)
        assert header == ["true", "predicted", "count"] and sum(int(count) for *_, count in rows) == 2 * CLASSES

    def test_the_figure_has_the_classes_with_the_most_errors_and_says_so(self) -> None:
        counts = np.asarray(matrix()).copy()
        counts[7, 9] += 50
        figure = figures.confusion_figure(counts, NAMES)
        texts = [text.get_text() for axes in figure.axes for text in [*axes.texts, *axes.get_yticklabels()]]
        assert any("the 100 of 1,500 classes with the most errors" in text for text in texts)
        assert {"class 0007", "class 0009"} <= set(texts) and len(figure.axes[0].get_yticklabels()) == 100


class TestReport:
    def test_the_page_is_small_and_says_what_is_left_out(self, run: Path, tmp_path: Path) -> None:
        files = write_report(gather([run]), tmp_path)
        page = files.page.read_text(encoding="utf-8")
        assert len(page) < 2_000_000
        assert f"The {MOST_CONFUSED} of 1,500 classes with the most errors are shown" in page
        assert "The chart has 30 and the table 1,000 of 1,500 classes; all are in per_class.csv." in page
        assert len((tmp_path / "per_class.csv").read_text().splitlines()) == CLASSES + 1

    def test_rows_of_the_cut_matrix_keep_their_sums(self, run: Path) -> None:
        group = gather([run]).groups[0]
        data = confusion_data(group)
        size = len(data["classes"])
        flat = list[int]()
        for number in data["runs"][0]:
            flat += [0] * -number if number < 0 else [number]
        flat += [0] * (size * size - len(flat))
        assert size == MOST_CONFUSED + 1 and data["classes"][-1] == "(any of 1,200 other classes)"
        sums = np.array(flat).reshape(size, size).sum(axis=1).tolist()
        assert sums == [*(group.runs[0].results.test.per_class[name]["support"] for name in data["classes"][:-1]), 0]

    def test_another_order_of_the_classes_is_the_same_result(self, run: Path) -> None:
        results = read_results(run / "results.json")
        turned = in_class_order(results, NAMES[::-1])
        check_results(turned)
        assert np.array_equal(
            np.asarray(turned.test.confusion_matrix), np.asarray(results.test.confusion_matrix)[::-1, ::-1]
        )
        with pytest.raises(Exception, match="support"):
            wrong = SparseCounts.of(np.eye(CLASSES, dtype=np.int64))
            check_results(
                results.model_copy(update={"test": results.test.model_copy(update={"confusion_matrix": wrong})})
            )


def test_few_classes_are_held_as_they_were() -> None:
    assert isinstance(count_rows(SparseCounts.of(np.eye(3, dtype=np.int64))), list)
