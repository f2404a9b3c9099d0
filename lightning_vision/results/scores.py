"""The figures of a run, as pure functions of one accuracy matrix and of one confusion matrix.

The accuracy matrix R has one row per finished experience and one column per experience of the stream: R[t, i] is the
accuracy after experience t on the test part of experience i, NaN (or None) where it is not defined. With t rows done of
T, every score is that of the stream so far: as if it had ended with experience t - 1.

The confusion matrix has true classes as rows and predicted classes as columns.

What is not defined is None, never NaN.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torchmetrics.functional.classification import binary_calibration_error, multiclass_confusion_matrix

from lightning_vision.results.schema import ClassScores, Confusion, Scores
from lightning_vision.storage.sparse_counts import MOST_DENSE, SparseCounts

Counts = npt.NDArray[np.int64]
AnyCounts = Counts | SparseCounts
Accuracies = npt.NDArray[np.floating] | Sequence[Sequence[float | None]]
Chances = npt.NDArray[np.floating] | Sequence[float | None]


def average_accuracy(matrix: Accuracies) -> float | None:
    """Mean over i of R[T-1, i]: how good the classifier is at the end.

    Args:
        matrix: R, (t, T) accuracies.
    """
    r = _stream_so_far(matrix)
    return _mean(r[-1:])


def average_incremental_accuracy(matrix: Accuracies) -> float | None:
    """Mean over t of the mean over i <= t of R[t, i]: how good it was on the way.

    The average incremental accuracy of iCaRL and PyCIL is another one: the mean of `seen_accuracy`.

    Args:
        matrix: R, (t, T) accuracies.
    """
    r = _stream_so_far(matrix)
    counted = ~np.isnan(r) & np.tri(len(r), dtype=np.bool_)
    sums, counts = np.where(counted, r, 0.0).sum(axis=1), counted.sum(axis=1)
    return _mean(sums[counts > 0] / counts[counts > 0])


def forgetting(matrix: Accuracies) -> float | None:
    """Mean over i < T-1 of (max over t < T-1 of R[t, i]) - R[T-1, i]: best minus last. None at T = 1.

    Avalanche's forgetting is R[i, i] - R[T-1, i], first minus last, which is minus the backward transfer.

    Args:
        matrix: R, (t, T) accuracies.
    """
    r = _stream_so_far(matrix)
    # fmax passes NaN over without nanmax's warning about columns of nothing else.
    best = np.fmax.reduce(r[:-1, :-1], axis=0, initial=np.nan)
    return _mean(best - r[-1, :-1]) if len(r) else None


def backward_transfer(matrix: Accuracies) -> float | None:
    """Mean over i < T-1 of R[T-1, i] - R[i, i]: what later experiences did to earlier ones. None at T = 1.

    Args:
        matrix: R, (t, T) accuracies.
    """
    r = _stream_so_far(matrix)
    return _mean(r[-1, :-1] - np.diag(r)[:-1]) if len(r) else None


def forward_transfer(matrix: Accuracies, chance: Chances) -> float | None:
    """Mean over i > 0 of R[i-1, i] - chance[i]: what earlier experiences did for later ones.

    None at T = 1 and where no R[i-1, i] is defined, as in the class-incremental scenario.

    Args:
        matrix: R, (t, T) accuracies.
        chance: (T,) accuracies of the untrained classifier on the test parts.
    """
    r = _stream_so_far(matrix)
    before = np.diag(r, k=1)  # (t - 1,): R[i-1, i]
    return _mean(before - np.asarray(chance, dtype=np.float64)[1 : len(r)])


def confusion_matrix(labels: npt.ArrayLike, predicted: npt.ArrayLike, classes: int) -> Counts:
    """Count how often each class was taken for which.

    Args:
        labels: (N,) true classes.
        predicted: (N,) predicted classes.
        classes: their number C, at least 2.

    Returns:
        (C, C) counts, rows true, columns predicted.
    """
    target = torch.from_numpy(np.array(labels, dtype=np.int64))
    preds = torch.from_numpy(np.array(predicted, dtype=np.int64))
    counts: Counts = multiclass_confusion_matrix(preds, target, num_classes=classes).numpy()
    return counts


def accuracy(confusion: AnyCounts, classes: Sequence[int] | None = None) -> float | None:
    """Share of the images that are predicted right.

    Args:
        confusion: (C, C) counts.
        classes: only the images of these true classes; None: all. None is returned without images.
    """
    counts = SparseCounts.of(confusion)
    rows = slice(None) if classes is None else list(classes)
    support = int(counts.support[rows].sum())
    return int(counts.correct[rows].sum()) / support if support else None


def per_class(confusion: AnyCounts) -> list[ClassScores]:
    """Precision, recall, F1 and support of each class.

    Precision is None for a class that is never predicted, recall for one without support, F1 for one with neither.

    Args:
        confusion: (C, C) counts.
    """
    counts = SparseCounts.of(confusion)
    right, support, predicted = (each.tolist() for each in (counts.correct, counts.support, counts.predicted))
    return [
        ClassScores(
            precision=r / p if p else None,
            recall=r / s if s else None,
            f1=2 * r / (s + p) if s + p else None,
            support=s,
        )
        for r, s, p in zip(right, support, predicted, strict=True)
    ]


def macro_f1(confusion: AnyCounts) -> float | None:
    """Mean of F1 over the classes with support; None if there is none.

    Args:
        confusion: (C, C) counts.
    """
    counts = SparseCounts.of(confusion)
    right, support, predicted = counts.correct, counts.support, counts.predicted
    there = support > 0
    return _mean(2 * right[there] / (support + predicted)[there])


def top_confusions(confusion: AnyCounts, class_names: Sequence[str], n: int = 20) -> list[Confusion]:
    """The n most frequent errors, ties in the order of the classes.

    Args:
        confusion: (C, C) counts.
        class_names: C names.
        n: the most to return.
    """
    counts = SparseCounts.of(confusion)
    wrong = counts.rows != counts.columns
    trues, predictions, errors = counts.rows[wrong], counts.columns[wrong], counts.counts[wrong]
    order = np.argsort(-errors, kind="stable")[:n]
    support = counts.support
    return [
        Confusion(
            true=class_names[true],
            predicted=class_names[predicted],
            count=int(count),
            share=float(count / support[true]),
        )
        for true, predicted, count in zip(trues[order], predictions[order], errors[order], strict=True)
    ]


def expected_calibration_error(confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 15) -> float | None:
    """Mean distance between confidence and accuracy over bins of equal width, weighted by their images.

    Args:
        confidence: (N,) probability of the predicted class.
        correct: (N,) whether the predicted class is the true one.
        bins: their number. Each holds its lower edge; torchmetrics keeps a confidence of exactly 1 in a bin of its own.

    Returns:
        The error between 0 and 1; None without images and where a confidence is NaN.
    """
    # The clip matters: one probability that rounding put above 1 makes torchmetrics take all of them for logits.
    preds = torch.from_numpy(np.clip(np.asarray(confidence, dtype=np.float64), 0, 1))
    target = torch.from_numpy(np.array(correct, dtype=np.int64))
    if not len(preds) or preds.isnan().any():
        return None
    return float(binary_calibration_error(preds, target, n_bins=bins, norm="l1"))


def score_predictions(
    labels: npt.ArrayLike,
    predicted: npt.ArrayLike,
    confidence: npt.ArrayLike,
    class_names: Sequence[str],
    as_rows: Callable[[SparseCounts], list[list[int]] | SparseCounts] | None = None,
) -> Scores:
    """All the scores of one set of predictions: `test` in results.json.

    Args:
        labels: (N,) true classes.
        predicted: (N,) predicted classes.
        confidence: (N,) probability of the predicted class.
        class_names: C names.
        as_rows: Makes the rows of the confusion matrix; ``count_rows`` where nobody changes them.
    """
    confusion = SparseCounts.of_predictions(labels, predicted, len(class_names))
    if as_rows is None:
        as_rows = SparseCounts.tolist if len(class_names) <= MOST_DENSE else SparseCounts.of
    return Scores.model_construct(  # without checking each of its numbers
        accuracy=accuracy(confusion),
        macro_f1=macro_f1(confusion),
        ece=expected_calibration_error(confidence, np.equal(labels, predicted)),
        per_class=dict(zip(class_names, per_class(confusion), strict=True)),
        confusion_matrix=as_rows(confusion),
        top_confusions=top_confusions(confusion, class_names),
    )


def _stream_so_far(matrix: Accuracies) -> npt.NDArray[np.float64]:
    """(t, t) float64: the finished rows and the columns of their experiences, None turned to NaN."""
    r = np.asarray(matrix, dtype=np.float64)
    if r.size == 0:
        return np.empty((0, 0))
    if r.ndim != 2 or r.shape[0] > r.shape[1]:
        raise ValueError(
            "Expected an accuracy matrix with a row per finished experience and a column per experience of the stream, "
            f"so no more rows than columns; found the shape {r.shape}."
        )
    return r[:, : len(r)]


def _mean(values: npt.NDArray[np.float64] | Sequence[float | None]) -> float | None:
    """Mean of the defined values; None if there is none."""
    array = np.asarray(values, dtype=np.float64)
    defined = array[~np.isnan(array)]
    return float(defined.mean()) if defined.size else None
