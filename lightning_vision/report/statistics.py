"""How sure the figures of a report are: pure functions over what S runs (seeds) of a method did with the same N test images.

Seeds and images are both random: another seed makes another model, and another test set holds other images. Formulas and
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
from statsmodels.stats.multitest import multipletests

from lightning_vision.report.proportion import Interval, clopper_pearson, mcnemar, paired_interval, t_quantile, wilson
from lightning_vision.report.two_way import TwoWay, by_case, two_way

ALPHA = 0.05
FEWEST_SEEDS = 3
"""With fewer common seeds there are intervals, and nothing is called different."""
FEW_IMAGES = 25
"""With fewer images that are wrong (or right), or on which two methods differ, a normal curve is no good stand-in for them."""

Correct = npt.NDArray[np.bool_]
Pseudovalues = npt.NDArray[np.floating]


Method = Literal["two-way", "groups", "mcnemar", "exact", "folds", "none"]


@dataclass(frozen=True)
class PairTest:
    """One method against another on the seeds and test images that both have."""

    difference: Interval
    """First minus second."""
    p_value: float | None
    """Two-sided; None where nothing is known of the spread."""
    seeds: int
    """S; the number of folds where the method is ``folds``."""
    images: int
    """N; 0 where the method is ``folds``: each has its own."""
    degrees_of_freedom: float | None
    """Of Student's t; None for an exact test."""
    variance: dict[str, float | None]
    """Of the difference, by source: ``seeds``, ``images`` (of one case: an image, or a group) and ``rest``; None where it cannot
    be known. With one seed, ``images`` holds the rest too."""
    method: Method
    """``two-way``: Student's t of the two-way analysis. ``groups``: the same with one seed, over groups of images.
    ``mcnemar``: McNemar's exact test, with one seed; it speaks of two trained models. ``exact``: the same where no seed changes
    which images the two differ on (with groups, of groups). ``folds``: over folds. ``none``: nothing to test with."""
    discordant: int
    """Images on which the two differ, with any seed."""
    cases: int
    """What was drawn at random beside the seeds: N images, or G groups of them."""
    p_holm: float | None = None
    """The p-value corrected for the family of tests it belongs to; whoever knows the family sets it (``dataclasses.replace``)."""


def accuracy_interval(correct: Correct, level: float = 1 - ALPHA, groups: npt.ArrayLike | None = None) -> Interval:
    """Mean accuracy, and the interval that holds the true one over seeds and images with a probability of ``level``.

    Wilson's interval with the effective number n = p (1 - p) / variance of the two-way analysis and Student's t; Clopper and
    Pearson's over the cases where nothing varies: all right is not 100 to 100 %. Of fewer than ``FEW_IMAGES`` wrong (or right)
    images n is at most the number of cases, for an image that is wrong with one seed says little about images not drawn.

    Args:
        correct: (S, N): whether run s has image i right.
        level: Between 0 and 1.
        groups: (N,) labels of images that are no independent draws, as frames of one sequence; the case is the group.

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
        first: (S, N): whether run s of one method has image i right.
        second: (S, N): the other, with the same seeds and images in the same order.
        level: Of the interval, between 0 and 1.
        groups: (N,) labels of images that are no independent draws; the case is the group.

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
    """The interval of a figure that is no mean over images, as macro F1: Student's t over jackknife pseudovalues.

    Args:
        estimate: The figure's mean over seeds.
        pseudovalues: (S, N), as those of ``lightning_vision.report.pseudovalues``.
        level: Between 0 and 1.
        groups: (N,) labels of images that are no independent draws; the case is the group.
        bounds: What the figure can be.

    Returns:
        No bounds where nothing varies: the images at hand do not show how others would move it.
    """
    return _interval(estimate, two_way(by_case(pseudovalues, groups)), level, bounds)


def fold_interval(values: Sequence[float], test_to_train: float, level: float = 1 - ALPHA) -> Interval:
    """The mean over the folds of a cross-validation, and an interval that knows that folds share training images.

    The variance of the mean is s^2 (1/k + n_test / n_train) with k - 1 degrees of freedom (Nadeau and Bengio, Inference for the
    generalization error, Machine Learning 52 (2003)): with five folds of equal size the interval is 1.5 times as wide as that
    of independent values.

    Args:
        values: k >= 1 figures, one a fold, means over seeds where there are several.
        test_to_train: n_test / n_train; 1 / (k - 1) for folds of equal size.
        level: Between 0 and 1.

    Returns:
        No bounds where there is one fold, or all have the same figure: nothing is known of the spread then.
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
        first: k figures, one a fold, means over seeds where there are several.
        second: Those of the other method on the same folds.
        test_to_train: n_test / n_train.
        level: Of the interval, between 0 and 1.

    Returns:
        p is 1 where no fold differs, and None where all differ by the same: nothing is known of the spread then.

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
    """p-values corrected by Holm's step-down method: how often any is below alpha by chance stays below alpha.

    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979).
    """
    return [float(value) for value in multipletests(p_values, method="holm")[1]] if len(p_values) else []


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
    """The mean, and its standard error; 0 where nothing is known of it."""
    mean, k = float(np.mean(values)), len(values)
    if k < 2 or np.ptp(values) <= 1e-12:
        return mean, 0.0
    return mean, math.sqrt(float(np.var(values, ddof=1)) * (1 / k + test_to_train))
