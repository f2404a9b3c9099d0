"""The number of seeds or images that a difference needs to be significant."""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy import special

from lightning_vision.report.proportion import t_quantile
from lightning_vision.report.statistics import PairTest
from lightning_vision.report.two_way import TwoWay


def needed(test: PairTest, power: float = 0.8, alpha: float = 0.05) -> dict[str, int | None]:
    """The number of seeds, or of test images, with which the observed difference would be significant.

    The observed difference and variances are assumed to be the true ones, so the result is a rough estimate.

    Args:
        test: Two methods on common seeds and images.
        power: The probability of finding the difference, between 0 and 1.
        alpha: Of a single test; that of the strictest step of Holm's for a family is alpha over its size.

    Returns:
        ``seeds`` on these images, and ``images`` with these seeds; None if no number is enough, or if the spread is not
        known. With one seed, ``images`` is for the two trained models.
    """
    spread, images, rest = test.variance["seeds"], test.variance["images"], test.variance["rest"]
    if not test.difference.mean or images is None or test.cases < 2:
        return {"seeds": None, "images": None}

    def found(seeds: int, cases: int) -> bool:
        """Whether the test would find the difference, with the mean squares that are to be expected."""
        if spread is None or rest is None:
            table = TwoWay(1, cases, None, images, None)
        else:
            table = TwoWay(seeds, cases, rest + cases * spread, rest + seeds * images, rest)
        variance, df = table.variance, table.degrees_of_freedom
        if not variance or df is None:
            return True
        return _power(abs(test.difference.mean) / math.sqrt(variance), df, alpha) >= power

    seeds = None if spread is None else _fewest(lambda count: found(count, test.cases), 2)
    cases = _fewest(lambda count: found(test.seeds, count), 2)
    return {"seeds": seeds, "images": None if cases is None else math.ceil(cases * test.images / test.cases)}


def _power(shift: float, df: float, alpha: float) -> float:
    """How often a two-sided t test finds a difference of ``shift`` standard errors; the wrong side is left out."""
    t = t_quantile(1 - alpha, df)
    if shift > t + 12 or df > 1e5:
        return float(special.ndtr(shift - t))
    return 1 - float(special.nctdtr(df, shift, t))


def _fewest(enough: Callable[[int], bool], least: int, most: int = 10**9) -> int | None:
    """The smallest number that is enough, where every larger one is too; None where ``most`` is not."""
    if not enough(most):
        return None
    low, high = least - 1, least
    while not enough(high):
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
