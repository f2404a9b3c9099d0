"""The scores against hand-computed matrices, scikit-learn and torchmetrics' other ways."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support
from torchmetrics.functional.classification import multiclass_calibration_error

from lightning_vision.results import scores

NAN = float("nan")

# T = 3, full, as in the instance- and domain-incremental scenarios. The best of part 1 lies above the diagonal.
FULL = np.array([[0.9, 0.7, 0.2], [0.8, 0.6, 0.4], [0.5, 0.65, 0.8]])
# The class-incremental shape: later parts are not defined.
LOWER = np.array([[0.9, NAN, NAN], [0.8, 0.6, NAN], [0.5, 0.65, 0.8]])
CHANCE = np.array([0.1, 0.2, 0.3])


def test_full_matrix() -> None:
    assert scores.average_accuracy(FULL) == pytest.approx((0.5 + 0.65 + 0.8) / 3)
    assert scores.average_incremental_accuracy(FULL) == pytest.approx((0.9 + 0.7 + 0.65) / 3)
    assert scores.forgetting(FULL) == pytest.approx(((0.9 - 0.5) + (0.7 - 0.65)) / 2)
    assert scores.backward_transfer(FULL) == pytest.approx(((0.5 - 0.9) + (0.65 - 0.6)) / 2)
    assert scores.forward_transfer(FULL, CHANCE) == pytest.approx(((0.7 - 0.2) + (0.4 - 0.3)) / 2)


def test_undefined_future_is_left_out() -> None:
    assert scores.average_accuracy(LOWER) == pytest.approx(0.65)
    assert scores.average_incremental_accuracy(LOWER) == pytest.approx(0.75)
    assert scores.forgetting(LOWER) == pytest.approx(((0.9 - 0.5) + (0.6 - 0.65)) / 2)
    assert scores.backward_transfer(LOWER) == pytest.approx(((0.5 - 0.9) + (0.65 - 0.6)) / 2)
    assert scores.forward_transfer(LOWER, CHANCE) is None


def test_none_in_lists_is_the_same_as_nan() -> None:
    lists = [[None if np.isnan(cell) else float(cell) for cell in row] for row in LOWER]
    for score in (scores.average_accuracy, scores.average_incremental_accuracy, scores.forgetting):
        assert score(lists) == score(LOWER)
    assert scores.forward_transfer([[0.5, 0.4], [0.5, 0.5]], [None, 0.1]) == pytest.approx(0.3)


def test_one_experience() -> None:
    one = np.array([[0.75]])
    assert scores.average_accuracy(one) == 0.75
    assert scores.average_incremental_accuracy(one) == 0.75
    assert scores.forgetting(one) is None
    assert scores.backward_transfer(one) is None
    assert scores.forward_transfer(one, np.array([0.1])) is None


@pytest.mark.parametrize("done", [1, 2, 3])
def test_incomplete_run_is_scored_like_the_shorter_stream(done: int) -> None:
    shorter, chance = FULL[:done, :done], CHANCE[:done]
    assert scores.average_accuracy(FULL[:done]) == scores.average_accuracy(shorter)
    assert scores.average_incremental_accuracy(FULL[:done]) == scores.average_incremental_accuracy(shorter)
    assert scores.forgetting(FULL[:done]) == scores.forgetting(shorter)
    assert scores.backward_transfer(FULL[:done]) == scores.backward_transfer(shorter)
    assert scores.forward_transfer(FULL[:done], CHANCE) == scores.forward_transfer(shorter, chance)


@pytest.mark.filterwarnings("error")
def test_part_without_test_images_is_left_out() -> None:
    matrix = FULL.copy()
    matrix[:, 1] = NAN
    assert scores.average_accuracy(matrix) == pytest.approx(0.65)
    assert scores.average_incremental_accuracy(matrix) == pytest.approx((0.9 + 0.8 + 0.65) / 3)
    assert scores.forgetting(matrix) == pytest.approx(0.4)
    assert scores.backward_transfer(matrix) == pytest.approx(-0.4)
    assert scores.forward_transfer(matrix, CHANCE) == pytest.approx(0.1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("matrix", [np.empty((0, 0)), np.empty((0, 3)), np.full((3, 3), NAN), np.full((1, 1), NAN)])
def test_nothing_defined_is_none(matrix: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    assert scores.average_accuracy(matrix) is None
    assert scores.average_incremental_accuracy(matrix) is None
    assert scores.forgetting(matrix) is None
    assert scores.backward_transfer(matrix) is None
    assert scores.forward_transfer(matrix, np.full(matrix.shape[1], NAN)) is None


@pytest.mark.parametrize("score", [scores.average_accuracy, scores.forgetting, scores.backward_transfer])
def test_more_rows_than_columns(score: Callable[[scores.Accuracies], float | None]) -> None:
    with pytest.raises(ValueError, match=r"no more rows than columns; found the shape \(3, 2\)"):
        score(np.zeros((3, 2)))


def test_inputs_are_not_changed() -> None:
    matrix, chance = LOWER.copy(), CHANCE.copy()
    scores.average_incremental_accuracy(matrix)
    scores.forgetting(matrix)
    scores.forward_transfer(matrix, chance)
    np.testing.assert_array_equal(matrix, LOWER)
    np.testing.assert_array_equal(chance, CHANCE)


# Class 2 is never predicted, class 3 has no support but is predicted, class 4 is in neither.
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
PREDICTED = np.array([0, 0, 0, 1, 1, 0, 3, 0, 0])
CONFUSION = np.array([[3, 1, 0, 0, 0], [1, 1, 0, 1, 0], [2, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]])


def test_confusion_matrix_by_hand() -> None:
    np.testing.assert_array_equal(scores.confusion_matrix(LABELS, PREDICTED, 5), CONFUSION)


def test_confusion_matrix_of_nothing() -> None:
    np.testing.assert_array_equal(scores.confusion_matrix([], [], 3), np.zeros((3, 3)))


def test_per_class_by_hand() -> None:
    assert scores.per_class(CONFUSION) == [
        {"precision": 3 / 6, "recall": 3 / 4, "f1": 6 / 10, "support": 4},
        {"precision": 1 / 2, "recall": 1 / 3, "f1": 2 / 5, "support": 3},
        {"precision": None, "recall": 0.0, "f1": 0.0, "support": 2},
        {"precision": 0.0, "recall": None, "f1": 0.0, "support": 0},
        {"precision": None, "recall": None, "f1": None, "support": 0},
    ]
    assert scores.macro_f1(CONFUSION) == pytest.approx((0.6 + 0.4 + 0) / 3)
    assert scores.macro_f1(np.zeros((5, 5), dtype=np.int64)) is None


@pytest.mark.parametrize("classes", [2, 9, 196])
def test_equal_to_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(classes)
    # 500 images of 196 classes: some have no support and some are never predicted.
    labels, predicted = rng.integers(0, classes, (2, 500))
    confusion = scores.confusion_matrix(labels, predicted, classes)
    np.testing.assert_array_equal(confusion, confusion_matrix(labels, predicted, labels=range(classes)))

    ours = np.array([list(row.values()) for row in scores.per_class(confusion)], dtype=np.float64).T
    theirs = precision_recall_fscore_support(labels, predicted, labels=range(classes), zero_division=np.nan)
    np.testing.assert_allclose(ours, np.array(theirs, dtype=np.float64), rtol=1e-12)

    present = np.unique(labels)
    assert scores.macro_f1(confusion) == pytest.approx(f1_score(labels, predicted, labels=present, average="macro"))
    assert scores.accuracy(confusion) == accuracy_score(labels, predicted)


def test_accuracy_over_some_classes() -> None:
    assert scores.accuracy(CONFUSION) == pytest.approx(4 / 9)
    assert scores.accuracy(CONFUSION, [0]) == 3 / 4
    assert scores.accuracy(CONFUSION, [0, 2]) == 3 / 6
    assert scores.accuracy(CONFUSION, [3, 4]) is None
    assert scores.accuracy(CONFUSION, []) is None


def test_top_confusions() -> None:
    names = ["a", "b", "c", "d", "e"]
    assert scores.top_confusions(CONFUSION, names) == [
        {"true": "c", "predicted": "a", "count": 2, "share": 1.0},
        {"true": "a", "predicted": "b", "count": 1, "share": 0.25},
        {"true": "b", "predicted": "a", "count": 1, "share": 1 / 3},
        {"true": "b", "predicted": "d", "count": 1, "share": 1 / 3},
    ]
    assert [row["true"] for row in scores.top_confusions(CONFUSION, names, n=2)] == ["c", "a"]
    assert scores.top_confusions(np.diag([3, 4]), ["a", "b"]) == []


def test_calibration_error_by_hand() -> None:
    # Two of four bins: [0.5, 0.75) holds 0.6 and 0.7, one right; [0.75, 1) holds 0.9, right.
    error = scores.expected_calibration_error([0.6, 0.7, 0.9], [True, False, True], bins=4)
    assert error == pytest.approx((2 * abs(0.65 - 0.5) + abs(0.9 - 1)) / 3)
    assert scores.expected_calibration_error([0.25, 0.25], [True, False]) == pytest.approx(0.25)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_calibration_error_equals_the_multiclass_one(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities = (3 * torch.randn(2000, 9, generator=generator, dtype=dtype)).softmax(dim=1)
    labels = torch.randint(0, 9, (2000,), generator=generator)
    confidence, predicted = probabilities.max(dim=1)
    theirs = multiclass_calibration_error(probabilities, labels, num_classes=9, n_bins=15, norm="l1")
    ours = scores.expected_calibration_error(confidence.numpy(), (predicted == labels).numpy())
    assert ours == pytest.approx(float(theirs), abs=1e-6)  # torchmetrics goes by float32 there


def test_confidence_above_one_by_rounding() -> None:
    """torchmetrics takes probabilities for logits if one is above 1: the error here would be 0.19."""
    assert scores.expected_calibration_error([np.nextafter(1, 2), 0.5], [True, False]) == pytest.approx(0.25)


def test_calibration_error_not_defined() -> None:
    assert scores.expected_calibration_error([], []) is None
    assert scores.expected_calibration_error([0.5, NAN], [True, True]) is None


def test_score_predictions() -> None:
    names = ["a", "b", "c", "d", "e"]
    confidence = np.linspace(0.3, 0.9, len(LABELS))
    result = scores.score_predictions(LABELS, PREDICTED, confidence, names)
    assert result.accuracy == pytest.approx(4 / 9)
    assert result.macro_f1 == scores.macro_f1(CONFUSION)
    assert result.ece == scores.expected_calibration_error(confidence, LABELS == PREDICTED)
    assert list(result.per_class) == names
    assert result.per_class["c"] == {"precision": None, "recall": 0.0, "f1": 0.0, "support": 2}
    assert result.confusion_matrix == CONFUSION.tolist()
    assert result.top_confusions == scores.top_confusions(CONFUSION, names)
