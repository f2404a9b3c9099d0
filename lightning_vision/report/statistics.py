"""Intervals and tests for the figures of a report: pure functions of the predictions of S seeds for the same N test images.

Seeds and images are both random: another seed gives another model, another test set has other images. Formulas and
sources are in docs/report.md, "How sure are the figures?"; simulations in benchmarks/significance.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from lightning_vision.report.proportion import Interval, clopper_pearson, mcnemar, paired_interval, t_quantile, wilson
from lightning_vision.report.two_way import TwoWay, by_case, two_way

ALPHA = 0.05
FEWEST_SEEDS = 3
"""With fewer common seeds there are intervals and no tests."""
FEW_IMAGES = 25
"""With fewer wrong (or correct) images, or images on which two methods differ, the normal approximation is not used."""

Correct = npt.NDArray[np.bool_]
Pseudovalues = npt.NDArray[np.floating]


Method = Literal["two-way", "groups", "mcnemar", "exact", "folds", "none"]


@dataclass(frozen=True)
class PairTest:
    """One method against another on the seeds and test images that both have."""

    difference: Interval
    """First minus second."""
    p_value: float | None
    """Two-sided; None if the spread is not known."""
    seeds: int
    """S; the number of folds if the method is ``folds``."""
    images: int
    """N; 0 if the method is ``folds``: each fold has its own."""
    degrees_of_freedom: float | None
    """Of Student's t; None for an exact test."""
    variance: dict[str, float | None]
    """Of the difference, by source: ``seeds``, ``images`` (of one case: an image, or a group) and ``rest``; None if it cannot
    be estimated. With one seed, ``images`` includes the rest."""
    method: Method
    """``two-way``: Student's t of the two-way analysis. ``groups``: the same with one seed, over groups of images.
    ``mcnemar``: McNemar's exact test, with one seed; it is about two trained models. ``exact``: the same if all seeds differ on the
    same images (with groups, over groups). ``folds``: over folds. ``none``: no test is possible."""
    discordant: int
    """Images on which the two differ, with any seed."""
    cases: int
    """The second random factor beside the seeds: N images, or G groups of images."""
    p_holm: float | None = None
    """The p-value corrected for a family of tests; set by the code that knows the family (``dataclasses.replace``)."""


def accuracy_interval(correct: Correct, level: float = 1 - ALPHA, groups: npt.ArrayLike | None = None) -> Interval:
    """Mean accuracy, and its confidence interval over seeds and images.

    Wilson's interval with the effective number n = p (1 - p) / variance of the two-way analysis, and Student's t. If nothing
    varies, Clopper and Pearson's interval over the cases, so that 100 % correct does not give 100 to 100 %. With fewer than
    ``FEW_IMAGES`` wrong (or correct) images, n is at most the number of cases.

    Args:
        correct: (S, N): whether run s classifies image i correctly.
        level: Between 0 and 1.
        groups: (N,) labels of images that are not independent, such as frames of one sequence; the group is then the case.

    Raises:
        ValueError: If there is no run or no image, or not one group for each image.
    """
    table = two_way(by_case(correct, groups))
    p, variance, df = float(correct.mean()), table.variance, table.degrees_of_freedom
    if not variance or df is None:
        low, high = clopper_pearson(p * table.n_cases, table.n_cases, level)
        return Interval(p, min(low, p), max(high, p))
    n = p * (1 - p) / variance
    if min((~correct).any(axis=0).sum(), correct.any(axis=0).sum()) < FEW_IMAGES:
        n = min(n, table.n_cases)
    low, high = wilson(p, n, t_quantile(level, df))
    return Interval(p, low, high)


def difference_test(
    first: Correct, second: Correct, level: float = 1 - ALPHA, groups: npt.ArrayLike | None = None
) -> PairTest:
    """Whether two methods differ in accuracy, over seeds and images.

    Args:
        first: (S, N): whether run s of one method classifies image i correctly.
        second: (S, N): the other, with the same seeds and images in the same order.
        level: Of the interval, between 0 and 1.
        groups: (N,) labels of images that are not independent; the group is then the case.

    Raises:
        ValueError: If the two are not of one shape, there is no run or no image, or not one group for each image.
    """
    if first.shape != second.shape:
        raise ValueError(f"Expected the same seeds and images, but got the shapes {first.shape} and {second.shape}.")
    differences = np.subtract(first, second, dtype=np.int8)
    table = two_way(by_case(differences, groups))
    still = bool((differences == differences[0]).all())
    discordant = int(differences.any(axis=0).sum())
    exact = not table.variance or (still and discordant < FEW_IMAGES)
    test = _test(float(differences.mean()), table, level, first.shape[1], discordant, (-1.0, 1.0))
    if groups is None and still and (len(first) == 1 or exact):
        ahead, behind = int((differences[0] > 0).sum()), int((differences[0] < 0).sum())
        interval = Interval(test.difference.mean, *paired_interval(ahead, behind, table.n_cases, level))
        return replace(
            test, difference=interval if exact else test.difference, p_value=mcnemar(ahead, behind), degrees_of_freedom=None,
            method="mcnemar" if len(first) == 1 else "exact",
        )  # fmt: skip
    if groups is not None and exact and table.n_cases > 1:
        _, index = np.unique(np.asarray(groups), return_inverse=True)
        sums = np.bincount(index, weights=differences.sum(axis=0))
        p = mcnemar(int((sums > 0).sum()), int((sums < 0).sum()))
        return replace(test, p_value=p, degrees_of_freedom=None, method="exact")
    return test


def figure_interval(
    estimate: float,
    pseudovalues: Pseudovalues,
    level: float = 1 - ALPHA,
    groups: npt.ArrayLike | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """The interval of a figure that is not a mean over images, such as macro F1: Student's t over jackknife pseudovalues.

    Args:
        estimate: The figure's mean over seeds.
        pseudovalues: (S, N), see ``lightning_vision.report.pseudovalues``.
        level: Between 0 and 1.
        groups: (N,) labels of images that are not independent; the group is then the case.
        bounds: The range of the figure.

    Returns:
        No bounds if nothing varies: the spread is not known then.
    """
    return _interval(estimate, two_way(by_case(pseudovalues, groups)), level, bounds)


def fold_interval(values: Sequence[float], test_to_train: float, level: float = 1 - ALPHA) -> Interval:
    """The mean over the folds of a cross-validation, with an interval that allows for shared training images.

    The variance of the mean is s^2 (1/k + n_test / n_train) with k - 1 degrees of freedom (Nadeau and Bengio, Inference for the
    generalization error, Machine Learning 52 (2003)): with five folds of equal size the interval is 1.5 times as wide as that
    of independent values.

    Args:
        values: k >= 1 figures, one per fold, means over seeds if there are several.
        test_to_train: n_test / n_train; 1 / (k - 1) for folds of equal size.
        level: Between 0 and 1.

    Returns:
        No bounds if there is one fold, or all have the same figure: the spread is not known then.
    """
    mean, error = _over_folds(values, test_to_train)
    if not error:
        return Interval(mean, None, None)
    half = t_quantile(level, len(values) - 1) * error
    return Interval(mean, mean - half, mean + half)


def fold_test(
    first: Sequence[float], second: Sequence[float], test_to_train: float, level: float = 1 - ALPHA
) -> PairTest:
    """Whether two methods differ over the folds of a cross-validation: Nadeau and Bengio's corrected t test.

    Args:
        first: k figures, one per fold, means over seeds if there are several.
        second: Those of the other method on the same folds.
        test_to_train: n_test / n_train.
        level: Of the interval, between 0 and 1.

    Returns:
        p is 1 if no fold differs, and None if all differ by the same amount: the spread is not known then.

    Raises:
        ValueError: If the two have not the same number of folds.
    """
    if len(first) != len(second):
        raise ValueError(f"Expected the same folds, but got {len(first)} and {len(second)}.")
    differences = np.subtract(first, second).tolist()
    interval = fold_interval(differences, test_to_train, level)
    mean, error = _over_folds(differences, test_to_train)
    p, k = None, len(differences)
    if error:
        p = float(2 * special.stdtr(k - 1, -abs(mean) / error))
    elif k > 1 and abs(mean) < 1e-12:
        p = 1.0
    spread = float(np.var(differences, ddof=1)) if k > 1 else None
    variance = {"seeds": spread, "images": None, "rest": None}
    return PairTest(interval, p, k, 0, float(k - 1) if error else None, variance, "folds", 0, 0)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected by Holm's step-down method, which controls the family-wise error rate.

    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979). statsmodels has it
    too, and collects all garbage of the process each time: a second, once a comparison has run in it.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return [float(value) for value in corrected]


def _test(
    difference: float, table: TwoWay, level: float, images: int, discordant: int, bounds: tuple[float, float]
) -> PairTest:
    """Student's t test of the mean of a table of differences."""
    variance, df = table.variance, table.degrees_of_freedom
    interval = _interval(difference, table, level, bounds)
    p: float | None = None
    if variance and df is not None:
        p = float(2 * special.stdtr(df, -abs(difference) / math.sqrt(variance)))
    elif variance is not None and not difference:
        p = 1.0
    method: Method = "none" if p is None else "groups" if table.n_seeds == 1 else "two-way"
    return PairTest(interval, p, table.n_seeds, images, df, table.components, method, discordant, table.n_cases)


def _interval(estimate: float, table: TwoWay, level: float, bounds: tuple[float, float]) -> Interval:
    variance, df = table.variance, table.degrees_of_freedom
    if not variance or df is None:
        return Interval(estimate, None, None)
    half = t_quantile(level, df) * math.sqrt(variance)
    return Interval(estimate, max(bounds[0], estimate - half), min(bounds[1], estimate + half))


def _over_folds(values: Sequence[float], test_to_train: float) -> tuple[float, float]:
    """The mean, and its standard error; 0 if it is not known."""
    mean, k = float(np.mean(values)), len(values)
    if k < 2 or np.ptp(values) <= 1e-12:
        return mean, 0.0
    return mean, math.sqrt(float(np.var(values, ddof=1)) * (1 / k + test_to_train))
