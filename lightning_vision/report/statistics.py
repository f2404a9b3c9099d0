"""Whether a difference is real: pure functions over test accuracies by seed. The seed is the unit.

Runs of one seed share the base and the order of the stream, so what is compared is the difference within a seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import stats
from statsmodels.stats import contingency_tables
from statsmodels.stats.multitest import multipletests

ALPHA = 0.05
FEWEST_SEEDS = 3
"""With fewer common seeds nothing is called different."""

BySeed = Mapping[int, float]


@dataclass(frozen=True)
class Interval:
    """A mean and its t interval."""

    mean: float
    low: float | None
    """None with one value: nothing is known of its spread."""
    high: float | None


@dataclass(frozen=True)
class PairTest:
    """One method against another, over the seeds that both have."""

    seeds: tuple[int, ...]
    difference: Interval | None
    """First minus second; None without a common seed."""
    p_value: float | None
    """Of the paired t test; None with fewer than ``FEWEST_SEEDS`` common seeds."""
    p_holm: float | None = None
    """The same, corrected for all pairs that were tested."""


def t_interval(values: Sequence[float], level: float = 1 - ALPHA, least_spread: float = 0.0) -> Interval:
    """The mean of independent values and the interval that holds the true mean with a probability of ``level``.

    Args:
        values: n >= 1 values, one a seed.
        level: Between 0 and 1.
        least_spread: The standard deviation to take where all values are the same.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, None, None)
    error = least_spread / math.sqrt(len(values)) if _alike(values) else float(stats.sem(values))
    if not error:
        return Interval(mean, mean, mean)
    low, high = stats.t.interval(level, len(values) - 1, loc=mean, scale=error)
    return Interval(mean, float(low), float(high))


def paired_t(first: Sequence[float], second: Sequence[float], least_spread: float = 0.0) -> float:
    """The two-sided p-value of Student's paired t test.

    Args:
        first: n >= 2 values, one a seed.
        second: Those of the same seeds.
        least_spread: The standard deviation to take for the differences where all of them are the same and not zero.

    Returns:
        1 where all differences are zero. Where they are all the same and not zero, t is infinite and p is 0, unless there
        is a least spread.
    """
    differences = np.subtract(first, second)
    if not _alike(differences, scale=[*first, *second]):
        return float(stats.ttest_rel(first, second).pvalue)
    mean = abs(float(differences.mean()))
    if mean <= _rounding([*first, *second]):
        return 1.0
    if not least_spread:
        return 0.0
    return float(2 * stats.t.sf(mean * math.sqrt(len(differences)) / least_spread, len(differences) - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected by Holm's step-down method: how often any is below alpha by chance stays below alpha.

    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979).
    """
    if len(p_values) < 2:
        return list(p_values)
    return [float(value) for value in multipletests(p_values, method="holm")[1]]


def all_pairs(methods: Mapping[str, BySeed], resolution: float = 0.0) -> dict[tuple[str, str], PairTest]:
    """Test every method against every other.

    The pairs that a reader wants are those with the best method. But which is the best is chosen by the very numbers that
    are then tested: among equal methods the luckiest is picked, and the differences to it are the largest there are. To
    correct for those pairs alone would call equal methods different too often. Whatever method is picked, its pairs are
    among all pairs, so Holm's correction over all of them keeps the promise.

    A test set of N pictures knows accuracies in steps of 1/N. Three seeds with the very same difference of a picture or two
    are no rarity then, and would be a proof beyond all doubt for the t test, which knows no rounding. Where all differences
    are the same and not zero, their standard deviation is therefore taken to be that of the rounding of two accuracies,
    which is 1/N divided by the square root of 6.

    Args:
        methods: By method, its test accuracy by seed.
        resolution: 1/N; 0 for values that are not rounded.

    Returns:
        By pair, both ways round, the test of the first against the second.
    """
    tests: dict[tuple[str, str], PairTest] = {}
    for a, b in combinations(methods, 2):
        seeds = tuple(sorted(methods[a].keys() & methods[b].keys()))
        first, second = [methods[a][seed] for seed in seeds], [methods[b][seed] for seed in seeds]
        differences = np.subtract(first, second)
        if seeds and _alike(differences, scale=[*first, *second]):
            differences[:] = differences.mean()
        nothing = np.abs(differences).max(initial=0.0) <= _rounding([*first, *second])
        least = 0.0 if nothing else resolution / math.sqrt(6)
        difference = t_interval(differences.tolist(), least_spread=least) if seeds else None
        enough = len(seeds) >= FEWEST_SEEDS
        tests[a, b] = PairTest(seeds, difference, paired_t(first, second, least) if enough else None)
    tested = {pair: test.p_value for pair, test in tests.items() if test.p_value is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    both = {}
    for (a, b), test in tests.items():
        p = corrected.get((a, b))
        both[a, b] = PairTest(test.seeds, test.difference, test.p_value, p)
        both[b, a] = PairTest(test.seeds, _turned(test.difference), test.p_value, p)
    return both


def mcnemar(first_only: int, second_only: int) -> float:
    """The exact two-sided p-value of McNemar's test: whether two models err equally often on the same pictures.

    It speaks of these two trained models, not of the methods that made them: another seed makes other models.
    McNemar, Note on the sampling error of the difference between correlated proportions, Psychometrika 12 (1947).

    Args:
        first_only: Pictures that the first model alone has right.
        second_only: Those that the second alone has right.
    """
    result = contingency_tables.mcnemar([[0, first_only], [second_only, 0]], exact=True)
    return float(result.pvalue)


def _turned(interval: Interval | None) -> Interval | None:
    if interval is None:
        return None
    low, high = interval.low, interval.high
    # Taken from zero, for minus nothing is to be 0.0 and not -0.0.
    return Interval(0.0 - interval.mean, None if high is None else 0.0 - high, None if low is None else 0.0 - low)


def _alike(values: npt.ArrayLike, scale: Sequence[float] | None = None) -> bool:
    """Whether all values are the same but for their last digits.

    Args:
        values: One or more.
        scale: What they were computed from; None: themselves.
    """
    return bool(np.ptp(values) <= _rounding(values if scale is None else scale))


def _rounding(values: npt.ArrayLike) -> float:
    """What differences between such values may owe to their last digits: 0.7 - 0.6 is not 0.8 - 0.7 in binary."""
    return 8 * float(np.finfo(np.float64).eps) * float(np.abs(values).max(initial=0.0))
