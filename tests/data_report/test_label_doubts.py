"""Doubtful labels: on clouds of features whose flipped labels are known, and of a run."""

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from command_line import fit

from lightning_vision.cli import main
from lightning_vision.data_report import checkpoint_labels
from lightning_vision.data_report.label_doubts import LabelDoubts, find_doubts, nearest
from lightning_vision.errors import DataError

CLASSES, EACH, DIMENSIONS = 4, 60, 16
Integers = npt.NDArray[np.int64]


def clouds(seed: int = 0) -> tuple[npt.NDArray[np.float64], Integers]:
    """Features (N, D) around a centre of each class, and the labels (N,)."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), EACH)
    centres = rng.normal(0, 1, (CLASSES, DIMENSIONS))
    return centres[labels] + rng.normal(0, 0.5, (len(labels), DIMENSIONS)), labels


def flipped(labels: Integers, count: int = 12) -> tuple[Integers, Integers]:
    """The rows that get another label, and all labels after it."""
    rng = np.random.default_rng(1)
    rows = rng.permutation(len(labels))[:count]
    wrong = labels.copy()
    wrong[rows] = (wrong[rows] + rng.integers(1, CLASSES, count)) % CLASSES
    return rows, wrong


class TestFindDoubts:
    def test_flipped_labels_come_first_with_the_label_that_they_had(self) -> None:
        features, labels = clouds()
        rows, wrong = flipped(labels)
        found = find_doubts(features, wrong, np.arange(len(labels)) + 1000, seed=0)
        assert set(found.rows[: len(rows)] - 1000) == set(rows.tolist())
        first = found.rows[: len(rows)] - 1000
        assert np.array_equal(found.suggested[: len(rows)], labels[first])
        assert np.array_equal(found.label, wrong[found.rows - 1000])
        assert found.is_error[: len(rows)].sum() >= 10 and found.errors < 2 * len(rows) and found.not_judged == 0
        assert np.all(np.diff(found.given - found.other) >= 0) and len(found.rows) == len(labels)
        assert found.sentence().startswith("240 labels were assessed. ")

    def test_the_seed_decides(self) -> None:
        features, labels = clouds()
        _, wrong = flipped(labels)

        def ranked(seed: int) -> LabelDoubts:
            return find_doubts(features, wrong, np.arange(len(labels)), seed)

        assert np.array_equal(ranked(0).given, ranked(0).given)
        assert not np.array_equal(ranked(0).given, ranked(1).given)

    def test_images_of_a_group_are_not_judged_by_each_other(self) -> None:
        """A group of near copies with a wrong label would vouch for itself."""
        features, labels = clouds()
        wrong, groups = labels.copy(), np.arange(len(labels), dtype=object)
        copies = np.arange(10)
        features[copies] = features[0] + np.random.default_rng(2).normal(0, 0.01, (len(copies), DIMENSIONS))
        wrong[copies], groups[copies] = 3, 0
        together = find_doubts(features, wrong, np.arange(len(labels)), 0, groups)
        apart = find_doubts(features, wrong, np.arange(len(labels)), 0)
        given = [found.given[np.isin(found.rows, copies)].mean() for found in (together, apart)]
        assert given[0] < 0.25 and given[1] > 2 * given[0]
        assert set(together.rows[: len(copies)]) == set(copies.tolist())

    def test_classes_that_no_other_fold_knows_are_counted_and_left_out(self) -> None:
        features, labels = clouds()
        labels[0] = CLASSES
        found = find_doubts(features, labels, np.arange(len(labels)), 0)
        assert found.not_judged == 1 and 0 not in found.rows and CLASSES not in found.suggested
        assert "1 are of classes with too few images or groups" in found.sentence()

    def test_too_few_images_are_refused(self) -> None:
        with pytest.raises(DataError, match="at least two classes with two images"):
            find_doubts(np.eye(3), np.array([0, 1, 2]), np.arange(3), 0)


class TestNearest:
    def test_by_angle_and_outside_the_own_group(self) -> None:
        angles = np.radians([0, 10, 25, 90, 95])
        features = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array([[1], [5], [1], [2], [1]])
        first, last = nearest(features, np.array([0, 4]))
        assert first.rows.tolist() == [1, 2, 3] and last.rows.tolist() == [3, 2, 1]
        assert first.similarity == pytest.approx(np.cos(np.radians([10, 25, 90])))
        grouped = nearest(features, np.array([0]), np.array(["a", "a", None, None, "b"], dtype=object))
        assert grouped[0].rows.tolist() == [2, 3, 4]

    def test_no_more_than_there_are(self) -> None:
        assert nearest(np.eye(2), np.array([0]))[0].rows.tolist() == [1]


class TestOfARun:
    @pytest.fixture(scope="class")
    def run(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        options = ("--model.strategy=NearestMean", "--model.base_strategy=NearestMean", "--data.stream.experiences=2")
        return fit(tmp_path_factory.mktemp("runs"), "run", *options)

    def test_page_table_and_terminal(self, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        page = tmp_path / "page.html"
        assert main(["data", "--ckpt_path", str(run), "--output", str(page)]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "labels were assessed" in said and "page-labels.csv" in said
        text = page.read_text(encoding="utf-8")
        assert 'id="labels"' in text and "page-labels.csv" in text and "learned by heart" not in text
        table = pd.read_csv(tmp_path / "page-labels.csv")
        assert table["rank"].tolist() == list(range(1, len(table) + 1)) and set(table["split"]) == {
            "train",
            "val",
            "test",
        }
        margin = table["probability_of_label"] - table["probability_of_suggested"]
        assert margin.is_monotonic_increasing and (table["label"] != table["suggested"]).all()
        assert table["neighbours"].str.count(r" \| ").eq(2).all()

    def test_of_too_many_images_a_part_is_drawn_and_said(
        self, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(checkpoint_labels, "MOST_JUDGED", 50)
        assert main(["data", f"--ckpt_path={run}", f"--output={tmp_path / 'page.html'}"]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "50 labels were assessed" in said and re.search(
            r"Only 50 of \d+ images were assessed, drawn with seed", said
        )
        table = pd.read_csv(tmp_path / "page-labels.csv")
        assert len(table) == 50 and table["row"].is_unique and table["row"].max() >= 50

    def test_without_a_checkpoint_there_is_no_such_section(self, tmp_path: Path) -> None:
        page = tmp_path / "page.html"
        assert main(["data", "--data=coloured_squares.ColouredSquares", "--output", str(page)]) == 0
        assert 'id="labels"' not in page.read_text(encoding="utf-8") and list(tmp_path.iterdir()) == [page]

    def test_a_backbone_that_was_trained_on_the_labels_is_said(self, tmp_path: Path) -> None:
        run = fit(tmp_path, "run", "--model.strategy=FullFineTune", "--data.stream.experiences=1")
        assert main(["data", f"--ckpt_path={run}", f"--output={tmp_path / 'page.html'}"]) == 0
        assert "learned by heart" in (tmp_path / "page.html").read_text(encoding="utf-8")

    def test_a_checkpoint_that_is_not_there(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["data", f"--ckpt_path={tmp_path / 'no'}"]) == 1
        assert "found nothing at" in capsys.readouterr().err
