"""What updates did, computed by hand."""

from pathlib import Path

import numpy as np
import pytest
from run_maker import make_run

from lightning_vision.report.changes import class_changes, flips, recalls
from lightning_vision.report.gather import gather
from lightning_vision.report.runs import ReportRun
from lightning_vision.report.sections import group_section

LABELS = np.array([0, 0, 0, 0, 1, 1, 2, 2])
PREDICTED = np.array(
    [
        [0, 0, 0, 1, 1, 0, 0, 1],  # recalls 3/4, 1/2, 0
        [0, 0, 1, 1, 1, 1, 2, 0],  # recalls 2/4, 1, 1/2
        [0, 1, 1, 0, 1, 0, 2, 2],  # recalls 2/4, 1/2, 1
    ]
)


def run_of(folder: Path) -> ReportRun:
    (run,) = gather([folder]).groups[0].runs
    return run


def hand_made(folder: Path, **options: object) -> ReportRun:
    return run_of(make_run(folder, labels=LABELS, predicted=PREDICTED, images=8, **options))  # type: ignore[arg-type]


def test_recalls_by_hand(tmp_path: Path) -> None:
    predictions = hand_made(tmp_path).predictions()
    assert predictions is not None
    assert recalls(predictions, 4).tolist() == [
        [0.75, 0.5, 0.0, pytest.approx(np.nan, nan_ok=True)],
        [0.5, 1.0, 0.5, pytest.approx(np.nan, nan_ok=True)],
        [0.5, 0.5, 1.0, pytest.approx(np.nan, nan_ok=True)],
    ]


def test_forgetting_per_class_by_hand(tmp_path: Path) -> None:
    ant, bee, cat = class_changes(hand_made(tmp_path))
    assert (ant.support, ant.best_before, ant.before, ant.after, ant.forgetting) == (4, 0.75, 0.5, 0.5, 0.25)
    assert (bee.support, bee.best_before, bee.before, bee.after, bee.forgetting) == (2, 1.0, 1.0, 0.5, 0.5)
    assert (cat.support, cat.best_before, cat.before, cat.after, cat.forgetting) == (2, 0.5, 0.5, 1.0, -0.5)


def test_forgetting_counts_from_the_experience_in_which_a_class_came(tmp_path: Path) -> None:
    """In the order ant, bee, cat one each: bee's recall of 1/2 before it was learned is no skill to forget."""
    predicted = PREDICTED.copy()
    predicted[1, 4:6] = [1, 0]  # bee 1/2 after its experience
    predicted[0, 4:6] = [1, 1]  # and 1 by luck before
    run = run_of(make_run(tmp_path, labels=LABELS, predicted=predicted, images=8, scenario="ClassIncremental"))
    _, bee, cat = class_changes(run)
    assert (bee.best_before, bee.forgetting) == (0.5, 0.0)
    assert (cat.best_before, cat.before, cat.after, cat.forgetting) == (None, 0.5, 1.0, None)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_a_class_an_experience_the_mean_is_the_runs_forgetting(tmp_path: Path, seed: int) -> None:
    classes = ("a", "b", "c", "d", "e")
    run = run_of(
        make_run(tmp_path, [0.2, 0.35, 0.45, 0.5, 0.6], classes=classes, scenario="ClassIncremental", images=100, seed=seed)
    )  # fmt: skip
    lost = [change.forgetting for change in class_changes(run)]
    assert lost[-1] is None
    assert np.mean([value for value in lost if value is not None]) == pytest.approx(run.results.forgetting)


def test_a_class_without_test_images_and_a_single_experience_have_no_forgetting(tmp_path: Path) -> None:
    labels = np.array([0, 0, 1, 1])
    run = run_of(make_run(tmp_path / "a", labels=labels, predicted=np.array([[0, 0, 1, 1], [0, 1, 1, 1]]), images=4))
    ant, _, cat = class_changes(run)
    assert (cat.support, cat.best_before, cat.before, cat.after, cat.forgetting) == (0, None, None, None, None)
    assert ant.forgetting == 0.5
    (single, *_) = class_changes(run_of(make_run(tmp_path / "b", [0.5], scenario="Joint")))
    assert (single.best_before, single.before, single.forgetting) == (None, None, None)
    assert single.after is not None


def test_flips_by_hand(tmp_path: Path) -> None:
    first, second = flips(hand_made(tmp_path))
    assert (first.experience, first.name, first.lost, first.won) == (1, "increment 1", 1, 2)
    assert [(p.row, p.label, p.before, p.after) for p in first.confident_lost] == [(1002, "ant", "ant", "bee")]
    assert {p.row for p in first.confident_won} == {1005, 1006}
    assert (second.lost, second.won) == (2, 2)
    assert {p.row for p in second.confident_lost} == {1001, 1005}
    assert {(p.row, p.before, p.after) for p in second.confident_won} == {(1003, "bee", "ant"), (1007, "ant", "cat")}


def test_the_most_confident_flips_come_first_and_the_others_are_counted(tmp_path: Path) -> None:
    run = run_of(make_run(tmp_path, [0.9, 0.1], images=90))
    (found,) = flips(run, shown=5)
    predictions = run.predictions()
    assert predictions is not None
    assert found.lost >= 72 and len(found.confident_lost) == 5
    lost = predictions.correct[0] & ~predictions.correct[1]
    expected = np.sort(predictions.confidence[1][lost])[::-1][:5].tolist()
    assert [image.confidence for image in found.confident_lost] == expected
    hashes = dict(zip(predictions.index.tolist(), predictions.path_hash.tolist(), strict=True))
    assert all(hashes[image.row] == image.path_hash for image in found.confident_lost)


def test_flips_are_named_in_the_order_of_the_group(tmp_path: Path) -> None:
    """A run that counts its classes in another order has the same flips."""
    hand_made(tmp_path / "a")
    hand_made(tmp_path / "b", order=[2, 0, 1], strategy="strategies.EWC", energy=2.0)
    (group,) = gather([tmp_path]).groups
    one, other = group.runs
    assert one.file_classes != other.file_classes
    for a, b in zip(flips(one), flips(other), strict=True):
        assert {(p.row, p.before, p.after) for p in a.confident_lost} == {
            (p.row, p.before, p.after) for p in b.confident_lost
        }
    assert class_changes(one) == class_changes(other)


def test_two_models_on_the_same_images(tmp_path: Path) -> None:
    hand_made(tmp_path / "a")
    other = PREDICTED.copy()
    other[2] = [0, 0, 0, 0, 0, 0, 2, 0]  # correct: 0, 1, 2, 3, 6; the first: 0, 3, 4, 6, 7
    make_run(tmp_path / "b", labels=LABELS, predicted=other, images=8, strategy="strategies.EWC")
    (group,) = gather([tmp_path]).groups
    words = group_section(group, "group-1", [method.label for method in group.methods], None).two_models
    assert "of 8 test images, only EWC classifies 2 correctly and only HeadOnly 2 (exact McNemar test, p = 1)" in words


def test_without_predictions_nothing_is_said(tmp_path: Path) -> None:
    (make_run(tmp_path) / "predictions.npz").unlink()
    run = run_of(tmp_path)
    assert (class_changes(run), flips(run)) == ([], [])
