"""Intervals and tests of proportions that are valid near 0 and 100 % and for few images, where the normal approximation is not."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import special
from statsmodels.stats import contingency_tables


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence bounds."""

    mean: float
    low: float | None
    """None if the spread is not known."""
    high: float | None


def t_quantile(level: float, df: float) -> float:
    """The two-sided quantile of Student's t: its absolute value is below with probability ``level``."""
    return float(special.stdtrit(df, (1 + level) / 2))


def wilson(p: float, n: float, t: float) -> tuple[float, float]:
    """Wilson's score interval: the proportions from which p is at most t standard errors away.

    Wilson, Probable inference, the law of succession, and statistical inference, Journal of the American Statistical
    Association 22 (1927).

    Args:
        p: The proportion, between 0 and 1.
        n: The number of trials; an effective number need not be an integer.
        t: The quantile of the normal distribution, or of Student's t if the variance is estimated.
    """
    middle = (p + t**2 / (2 * n)) / (1 + t**2 / n)
    half = t * math.sqrt(p * (1 - p) / n + t**2 / (4 * n**2)) / (1 + t**2 / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def clopper_pearson(successes: float, n: float, level: float) -> tuple[float, float]:
    """The exact interval of a binomial proportion; 0 to 1 without trials.

    Clopper and Pearson, The use of confidence or fiducial limits illustrated in the case of the binomial, Biometrika 26 (1934).

    Args:
        successes: Between 0 and n.
        n: The number of trials.
        level: Between 0 and 1.
    """
    tail = (1 - level) / 2
    low = float(special.betaincinv(successes, n - successes + 1, tail)) if successes > 0 else 0.0
    high = float(special.betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return low, high


def mcnemar(first_only: int, second_only: int) -> float:
    """The exact two-sided p-value of McNemar's test: whether two models make equally many errors on the same images.

    It is about these two trained models, not about their methods: another seed gives other models.
    McNemar, Note on the sampling error of the difference between correlated proportions, Psychometrika 12 (1947).

    Args:
        first_only: Images that only the first model classifies correctly.
        second_only: Images that only the second model classifies correctly.
    """
    result = contingency_tables.mcnemar([[0, first_only], [second_only, 0]], exact=True)
    return float(result.pvalue)


def paired_interval(first_only: int, second_only: int, images: int, level: float) -> tuple[float, float]:
    """An interval for the difference of two models' accuracies that excludes 0 exactly if McNemar's test rejects it.

    The difference is (2 theta - 1) psi with psi the share of images on which the models differ and theta the first's share of
    those. Both have their exact interval (Clopper and Pearson); the bounds are the extremes of the product. The interval is
    conservative.

    Args:
        first_only: Images that only the first model classifies correctly.
        second_only: Images that only the second model classifies correctly.
        images: The number of all images.
        level: Between 0 and 1.
    """
    differ = first_only + second_only
    theta = clopper_pearson(first_only, differ, level)
    psi = clopper_pearson(differ, images, level)
    low, high = ((2 * share - 1) for share in theta)
    return min(low * psi[0], low * psi[1]), max(high * psi[0], high * psi[1])
