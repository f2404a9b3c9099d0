"""The figures of one method with their intervals: test accuracy, macro F1, forgetting, recall of each class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from lightning_vision.report.folds import by_fold, share_tested
from lightning_vision.report.matrices import Matrix, matched_images, matrix_of
from lightning_vision.report.means import mean_of_all
from lightning_vision.report.predictions import RunPredictions
from lightning_vision.report.proportion import Interval
from lightning_vision.report.pseudovalues import forgetting_pseudovalues, learning_values, macro_f1_pseudovalues
from lightning_vision.report.runs import ReportRun
from lightning_vision.report.statistics import accuracy_interval, difference_test, figure_interval, fold_interval

Measure = Callable[[ReportRun], float | None]
_accuracy: Measure = attrgetter("accuracy")
_macro_f1: Measure = attrgetter("results.test.macro_f1")
_forgetting: Measure = attrgetter("results.forgetting")
_learning: Measure = attrgetter("learning_accuracy")
_probe: Measure = attrgetter("probe_accuracy")


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


def figures_of(runs: Sequence[ReportRun], matrix: Matrix | None) -> MethodFigures:
    """The figures of a method.

    Args:
        runs: Its complete runs, one or more.
        matrix: See ``matrix_of``. If it lacks a seed or an image of a run, there are means without intervals, since an interval
            would be over other runs.
    """
    accuracy, macro_f1, forgetting, learning, probe = (
        _mean(runs, of) for of in (_accuracy, _macro_f1, _forgetting, _learning, _probe)
    )
    gain = _mean(runs, _probe_gain)
    seed_free = matrix is not None and matrix.seed_free and len(matrix.seeds) == len(runs)
    found = [predictions for run in runs if (predictions := run.predictions()) is not None]
    whole = (
        matrix is not None and len(found) == len(runs) and all(len(one.label) == len(matrix.images) for one in found)
    )
    if accuracy is None or matrix is None or not whole:
        return MethodFigures(
            accuracy or Interval(0.0, None, None), seed_free, macro_f1, forgetting, learning, probe, gain
        )
    _, places = matched_images(found)
    if macro_f1 is not None:
        predicted = np.stack([one.predicted[-1, place] for one, place in zip(found, places, strict=True)])
        values = macro_f1_pseudovalues(matrix.label, predicted, len(runs[0].results.class_names))
        macro_f1 = figure_interval(macro_f1.mean, values, groups=matrix.groups)
    lost = [_forgotten(run, one, place) for run, one, place in zip(runs, found, places, strict=True)]
    known = [values for values in lost if values is not None]
    if forgetting is not None and len(known) == len(runs):
        forgetting = figure_interval(forgetting.mean, np.stack(known), groups=matrix.groups, bounds=(-1.0, 1.0))
    parts = [None if one.part is None else one.part[place] for one, place in zip(found, places, strict=True)]
    if learning is not None and all(part is not None for part in parts):
        learnt = [
            learning_values(one.correct[:, place], part)
            for one, place, part in zip(found, places, parts, strict=True)
            if part is not None
        ]
        if abs(float(np.mean(learnt)) - learning.mean) < 1e-6:
            learning = figure_interval(learning.mean, np.stack(learnt), groups=matrix.groups)
    return MethodFigures(
        accuracy_interval(matrix.correct, groups=matrix.groups), seed_free, macro_f1, forgetting, learning,
        *_probe_figures(probe, gain, runs, found, places, matrix),
    )  # fmt: skip


def folded_figures(runs: Sequence[ReportRun]) -> MethodFigures:
    """The figures of a method in a cross-validation: means over folds, the seeds of a fold averaged first.

    Args:
        runs: Its complete runs, one or more, all of folds.
    """

    def interval(of: Measure) -> Interval | None:
        known = _mean(runs, of)
        return known and fold_interval(list(by_fold(runs, of).values()), share_tested(runs))

    accuracy = interval(_accuracy)
    return MethodFigures(
        accuracy or Interval(0.0, None, None), False, interval(_macro_f1), interval(_forgetting), interval(_learning),
        interval(_probe), interval(_probe_gain),
    )  # fmt: skip


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


def _probe_figures(
    probe: Interval | None,
    gain: Interval | None,
    runs: Sequence[ReportRun],
    found: Sequence[RunPredictions],
    places: Sequence[npt.NDArray[np.int64]],
    matrix: Matrix,
) -> tuple[Interval | None, Interval | None]:
    """Accuracy and gain of the probe, with intervals if its predictions are kept and give the recorded accuracy."""
    probed = [one.probe_predicted[-1, place] for one, place in zip(found, places, strict=True) if one.probe_predicted is not None]  # fmt: skip
    if probe is None or len(probed) < len(runs):
        return probe, gain
    inside = np.isin(matrix.label, [c for record in runs[0].results.experiences for c in record.classes])
    correct = np.stack(probed)[:, inside] == matrix.label[inside]
    if not correct.size or abs(float(correct.mean()) - probe.mean) > 1e-6:
        return probe, gain
    groups = None if matrix.groups is None else matrix.groups[inside]
    difference = difference_test(correct, matrix.correct[:, inside], groups=groups).difference
    return accuracy_interval(correct, groups=groups), difference


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
    if not terms or abs(float(np.mean(terms)) - forgetting) > 1e-6:
        return None
    return forgetting_pseudovalues(correct, part, last + 1, seen_only)


def _mean(runs: Sequence[ReportRun], of: Measure) -> Interval | None:
    """The mean without an interval; None if the figure of any run is not known."""
    mean = mean_of_all([of(run) for run in runs])
    return None if mean is None else Interval(mean, None, None)
