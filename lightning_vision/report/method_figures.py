"""The figures of one method with their intervals: test accuracy, macro F1, forgetting, recall of each class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from lightning_vision.report.anytime_interval import anytime_interval
from lightning_vision.report.folds import by_fold, share_tested
from lightning_vision.report.matrices import Matrix, matched_images, matrix_of
from lightning_vision.report.means import mean_of_all
from lightning_vision.report.predictions import RunPredictions
from lightning_vision.report.proportion import Interval
from lightning_vision.report.pseudovalues import (
    forgetting_pseudovalues,
    incremental_values,
    learning_values,
    macro_f1_pseudovalues,
)
from lightning_vision.report.runs import ReportRun
from lightning_vision.report.statistics import accuracy_interval, difference_test, figure_interval, fold_interval

Measure = Callable[[ReportRun], float | None]
PartValues = Callable[[npt.NDArray[np.bool_], npt.NDArray[np.int64]], npt.NDArray[np.float64]]
NEAR = 1e-6
"""Predictions belong to a recorded figure if they give it, but for rounding."""
_accuracy: Measure = attrgetter("accuracy")
_macro_f1: Measure = attrgetter("results.test.macro_f1")
_forgetting: Measure = attrgetter("results.forgetting")
_learning: Measure = attrgetter("learning_accuracy")
_probe: Measure = attrgetter("probe_accuracy")
_incremental: Measure = attrgetter("results.average_incremental_accuracy")
_task: Measure = attrgetter("task_accuracy")
_anytime: Measure = attrgetter("results.average_anytime_accuracy")


@dataclass(frozen=True)
class MethodFigures:
    """Means over the complete runs of a method, with their 95 % intervals if there are predictions."""

    accuracy: Interval
    """On the whole test set after the last experience."""
    seed_free: bool
    """Whether two or more seeds give the same predictions."""
    macro_f1: Interval | None
    """None if it is not known."""
    forgetting: Interval | None
    learning: Interval | None
    """Learning accuracy: on each experience right after it was learned."""
    probe: Interval | None = None
    """Accuracy of the linear probe after the last experience, on the classes seen."""
    probe_gain: Interval | None = None
    """The probe's accuracy minus the method's, on the same seeds and images."""
    incremental: Interval | None = None
    """Average incremental accuracy."""
    task: Interval | None = None
    """Task accuracy after the last experience, on the classes seen."""
    anytime: Interval | None = None
    """Average anytime accuracy."""


def figures_of(runs: Sequence[ReportRun], matrix: Matrix | None) -> MethodFigures:
    """The figures of a method.

    Args:
        runs: Its complete runs, one or more.
        matrix: See ``matrix_of``. If it lacks a seed or an image of a run, there are means without intervals, since an interval
            would be over other runs.
    """
    seed_free = matrix is not None and matrix.seed_free and len(matrix.seeds) == len(runs)
    means = replace(_figures(runs, _mean, seed_free), anytime=anytime_interval(runs))
    found = [predictions for run in runs if (predictions := run.predictions()) is not None]
    whole = (
        matrix is not None and len(found) == len(runs) and all(len(one.label) == len(matrix.images) for one in found)
    )
    if matrix is None or not whole or _mean(runs, _accuracy) is None:
        return means
    _, places = matched_images(found)
    tested = _Tested(runs, found, places, matrix)
    probe, gain = tested.probe(means.probe, means.probe_gain)
    return replace(
        means,
        accuracy=accuracy_interval(matrix.correct, groups=matrix.groups),
        macro_f1=tested.macro_f1(means.macro_f1),
        forgetting=tested.forgetting(means.forgetting),
        learning=tested.over_parts(means.learning, learning_values),
        probe=probe,
        probe_gain=gain,
        incremental=tested.over_parts(means.incremental, incremental_values),
        task=tested.task(means.task),
    )


def folded_figures(runs: Sequence[ReportRun]) -> MethodFigures:
    """The figures of a method in a cross-validation: means over folds, the seeds of a fold averaged first.

    Args:
        runs: Its complete runs, one or more, all of folds.
    """

    def interval(runs: Sequence[ReportRun], of: Measure) -> Interval | None:
        known = _mean(runs, of)
        return known and fold_interval(list(by_fold(runs, of).values()), share_tested(runs))

    return _figures(runs, interval, seed_free=False)


def _figures(
    runs: Sequence[ReportRun], figure: Callable[[Sequence[ReportRun], Measure], Interval | None], seed_free: bool
) -> MethodFigures:
    return MethodFigures(
        accuracy=figure(runs, _accuracy) or Interval(0.0, None, None),
        seed_free=seed_free,
        macro_f1=figure(runs, _macro_f1),
        forgetting=figure(runs, _forgetting),
        learning=figure(runs, _learning),
        probe=figure(runs, _probe),
        probe_gain=figure(runs, _probe_gain),
        incremental=figure(runs, _incremental),
        task=figure(runs, _task),
        anytime=figure(runs, _anytime),
    )


@dataclass(frozen=True)
class _Tested:
    """The predictions of a method's runs for the same images.

    Each of its figures is given as a mean, and returned with its interval if its predictions are kept and give that mean.
    """

    runs: Sequence[ReportRun]
    found: Sequence[RunPredictions]
    places: Sequence[npt.NDArray[np.int64]]
    """Of each run, the places of the matrix's images in its predictions."""
    matrix: Matrix

    def macro_f1(self, mean: Interval | None) -> Interval | None:
        if mean is None:
            return None
        predicted = np.stack([one.predicted[-1, place] for one, place in self._placed])
        values = macro_f1_pseudovalues(self.matrix.label, predicted, len(self.runs[0].results.class_names))
        return figure_interval(mean.mean, values, groups=self.matrix.groups)

    def forgetting(self, mean: Interval | None) -> Interval | None:
        lost = [_forgotten(run, one, place) for run, (one, place) in zip(self.runs, self._placed, strict=True)]
        known = [values for values in lost if values is not None]
        if mean is None or len(known) < len(self.runs):
            return mean
        return figure_interval(mean.mean, np.stack(known), groups=self.matrix.groups, bounds=(-1.0, 1.0))

    def over_parts(self, mean: Interval | None, values: PartValues) -> Interval | None:
        """A figure that is a weighted mean over the images of the test parts."""
        known = [(one.correct[:, place], one.part[place]) for one, place in self._placed if one.part is not None]
        if mean is None or len(known) < len(self.runs):
            return mean
        found = np.stack([values(correct, part) for correct, part in known])
        if abs(float(found.mean()) - mean.mean) > NEAR:
            return mean
        return figure_interval(mean.mean, found, groups=self.matrix.groups)

    def task(self, mean: Interval | None) -> Interval | None:
        kept = [one.task_predicted[place] for one, place in self._placed if one.task_predicted is not None]
        correct = self._correct(mean, kept)
        return mean if correct is None else accuracy_interval(correct, groups=self._groups_seen)

    def probe(self, mean: Interval | None, gain: Interval | None) -> tuple[Interval | None, Interval | None]:
        """Accuracy and gain of the probe."""
        kept = [one.probe_predicted[-1, place] for one, place in self._placed if one.probe_predicted is not None]
        correct = self._correct(mean, kept)
        if correct is None:
            return mean, gain
        test = difference_test(correct, self.matrix.correct[:, self._seen], groups=self._groups_seen)
        return accuracy_interval(correct, groups=self._groups_seen), test.difference

    @property
    def _placed(self) -> Sequence[tuple[RunPredictions, npt.NDArray[np.int64]]]:
        return list(zip(self.found, self.places, strict=True))

    @property
    def _seen(self) -> npt.NDArray[np.bool_]:
        """(N,) the images of the classes that the stream has."""
        classes = [c for record in self.runs[0].results.experiences for c in record.classes]
        return np.isin(self.matrix.label, classes)

    @property
    def _groups_seen(self) -> npt.NDArray[np.generic] | None:
        return None if self.matrix.groups is None else self.matrix.groups[self._seen]

    def _correct(self, mean: Interval | None, kept: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.bool_] | None:
        """(S, N') whether predictions (N,) of each run are right on the classes seen; None if they do not give the mean."""
        if mean is None or len(kept) < len(self.runs):
            return None
        correct = np.stack(kept)[:, self._seen] == self.matrix.label[self._seen]
        return correct if correct.size and abs(float(correct.mean()) - mean.mean) <= NEAR else None


def recall_intervals(runs: Sequence[ReportRun]) -> dict[str, Interval]:
    """The recall of each class with test images: the accuracy on the images of the class.

    Args:
        runs: Of one method, on one test set.

    Returns:
        By class name; empty if a run has no predictions.
    """
    matrix = matrix_of(runs)
    if matrix is None or len(matrix.seeds) < len(runs):
        return {}
    found = {}
    for c, name in enumerate(runs[0].results.class_names):
        of_class = matrix.label == c
        if of_class.any():
            groups = None if matrix.groups is None else matrix.groups[of_class]
            found[name] = accuracy_interval(matrix.correct[:, of_class], groups=groups)
    return found


def _probe_gain(run: ReportRun) -> float | None:
    """The probe's accuracy minus the method's, both on the classes seen."""
    probe, seen = run.probe_accuracy, run.results.seen_accuracy[-1]
    return None if probe is None or seen is None else probe - seen


def _forgotten(
    run: ReportRun, predictions: RunPredictions, place: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64] | None:
    """(N,) pseudovalues of a run's forgetting; None if its test parts are not known, or do not give the recorded figure."""
    forgetting, last = run.results.forgetting, len(predictions.predicted) - 1
    if forgetting is None or predictions.part is None:
        return None
    r = run.results.accuracy_matrix
    seen_only = any(r[t][i] is None for t in range(last) for i in range(t + 1, last))
    part, correct = predictions.part[place], predictions.correct[:, place]
    terms = []
    for i in range(last):
        if (inside := part == i).any():
            accuracy = correct[:, inside].mean(axis=1)
            terms.append(accuracy[i if seen_only else 0 : last].max() - accuracy[last])
    if not terms or abs(float(np.mean(terms)) - forgetting) > NEAR:
        return None
    return forgetting_pseudovalues(correct, part, last + 1, seen_only)


def _mean(runs: Sequence[ReportRun], of: Measure) -> Interval | None:
    """The mean without an interval; None if the figure of any run is not known."""
    mean = mean_of_all([of(run) for run in runs])
    return None if mean is None else Interval(mean, None, None)
