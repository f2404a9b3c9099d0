"""The share of the gap between fine-tuning and joint training that a method closes, with an interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import attrgetter

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from lightning_vision.report.folds import by_fold, fold_of, share_tested
from lightning_vision.report.fronts import RETRAIN
from lightning_vision.report.matrices import Matrix
from lightning_vision.report.proportion import Interval
from lightning_vision.report.runs import Gap, Method
from lightning_vision.report.statistics import figure_interval, fold_interval
from lightning_vision.terminal.wording import few

LOWER, UPPER = "FullFineTune", RETRAIN
"""The learning strategies that are the bounds: sequential fine-tuning, and joint training on all data so far."""
_DOUBLINGS = 40
_CLOSE = 1e-4
"""The precision of the ends of an interval: a hundredth of a percent of the gap."""

Values = npt.NDArray[np.float64]
IntervalOf = Callable[[Values], Interval]
"""The confidence interval of the mean of paired values: (S, N) of seeds and images, or (k,) of folds."""


@dataclass(frozen=True)
class Bounds:
    """The methods between which the others at one point of the axes lie."""

    lower: Method | None
    upper: Method | None
    why: str
    """Why one is missing; "" if both are there."""


def bounds_at(ranked: Sequence[Method], point: str) -> Bounds:
    """The bounds among the methods at a point of the axes."""
    here = [method for method in ranked if method.point == point]
    found, missing = [], []
    for what, strategy in (("lower", LOWER), ("upper", UPPER)):
        method, why = _bound(here, strategy)
        found.append(method)
        if why:
            missing.append(f"there is no {what} bound ({why})")
    return Bounds(found[0], found[1], "; ".join(missing))


def _bound(methods: Sequence[Method], strategy: str) -> tuple[Method | None, str]:
    """The method that is a bound: of several with the strategy the one with its default options."""
    of_strategy = [method for method in methods if method.strategy == strategy]
    plain = [method for method in of_strategy if method.label == strategy or method.label.startswith(f"{strategy}, ")]
    if len(of_strategy) == 1 or len(plain) == 1:
        return (plain or of_strategy)[0], ""
    if not of_strategy:
        return None, f"no complete run of {strategy}"
    return None, f"{few([method.label for method in of_strategy], 3)} are all {strategy}, and none has the plain label"


def gap_closed(method: Method, bounds: Bounds, matrices: Mapping[str, Matrix | None]) -> Gap:
    """The share (accuracy - lower bound) / (upper bound - lower bound), paired by seed and image, or by fold.

    It is not defined where the 95 % interval of the gap between the bounds is not above 0. Otherwise its interval is Fieller's:
    the shares g for which the mean of (accuracy - lower) - g (upper - lower) does not differ significantly from 0 (Fieller, Some
    problems in interval estimation, Journal of the Royal Statistical Society B 16 (1954)).

    Args:
        method: Any method at the same point of the axes, also a bound.
        bounds: See ``bounds_at``.
        matrices: By label; not needed in a cross-validation.
    """
    if bounds.lower is None or bounds.upper is None:
        return Gap(None, bounds.why)
    if method.label in (bounds.lower.label, bounds.upper.label):
        return Gap(None, "", "lower" if method.label == bounds.lower.label else "upper")
    three = (method, bounds.lower, bounds.upper)
    folded = all(fold_of(run.results) is not None for each in three for run in each.complete)
    found = _by_folds(three) if folded else _by_images([matrices.get(each.label) for each in three])
    if found is None:
        what = "fold" if folded else "seed and test images with predictions"
        return Gap(None, f"no {what} in common with both bounds")
    (accuracy, lower, upper), interval = found
    return share_of_gap(accuracy - lower, upper - lower, interval)


def share_of_gap(won: Values, gap: Values, interval: IntervalOf) -> Gap:
    """The ratio of two paired means with Fieller's interval.

    Args:
        won: Method minus lower bound.
        gap: Upper bound minus lower bound, of the same shape.
        interval: Gives the interval of a mean of such values.
    """
    whole = interval(gap)
    if whole.low is None or whole.high is None:
        return Gap(None, "the spread of the gap between the bounds is not known")
    if whole.low <= 0:
        return Gap(
            None,
            f"the gap between the bounds, {100 * whole.mean:.1f} points ({100 * whole.low:.1f} to {100 * whole.high:.1f}), "
            "is not clearly above 0",
        )
    share = float(won.mean() / gap.mean())

    def beyond(g: float) -> float:
        """Above 0 where g is outside the interval."""
        found = interval(won - g * gap)
        low, high = (found.mean if end is None else end for end in (found.low, found.high))
        return max(low, -high)

    first = interval(won - share * gap)
    step = max((first.high or 0.0) / whole.mean, 10 * _CLOSE)
    ends = [_end(beyond, share, sign * step) for sign in (-1, 1)]
    low, high = (None, None) if None in ends else ends
    return Gap(Interval(share, low, high), "")


def _end(beyond: Callable[[float], float], share: float, step: float) -> float | None:
    """The end of the interval on one side; None if it has none."""
    if beyond(share) >= 0:  # nothing varies: the share is exact on these images, and its spread is not known
        return None
    for doubling in range(_DOUBLINGS):
        outside = share + step * 2**doubling
        if beyond(outside) > 0:
            return float(brentq(beyond, share, outside, xtol=_CLOSE))
    return None


def _by_images(matrices: Sequence[Matrix | None]) -> tuple[list[Values], IntervalOf] | None:
    """(S, N) of each method on the seeds and images that all have; None without."""
    known = [matrix for matrix in matrices if matrix is not None]
    if len(known) < len(matrices):
        return None
    seeds = sorted(set.intersection(*(set(matrix.seeds) for matrix in known)))
    images = reduce(np.intersect1d, [matrix.images for matrix in known])
    if not seeds or not len(images):
        return None
    values, groups = [], None
    for matrix in known:
        rows, columns = [matrix.seeds.index(seed) for seed in seeds], np.searchsorted(matrix.images, images)
        values.append(matrix.correct[rows][:, columns].astype(np.float64))
        groups = groups if matrix.groups is None else matrix.groups[columns]

    def interval(of: Values) -> Interval:
        return figure_interval(float(of.mean()), of, groups=groups, bounds=(-math.inf, math.inf))

    return values, interval


def _by_folds(methods: Sequence[Method]) -> tuple[list[Values], IntervalOf] | None:
    """(k,) accuracies of each method on the folds that all have; None without."""
    found = [by_fold(method.complete, attrgetter("accuracy")) for method in methods]
    folds = sorted(set.intersection(*(set(of) for of in found)))
    tested = share_tested(methods[0].complete)
    values = [np.array([of[fold] for fold in folds]) for of in found]
    return (values, lambda of: fold_interval(of.tolist(), tested)) if folds else None


def words_on_bounds(ranked: Sequence[Method], most: int = 4) -> list[str]:
    """Sentences on the bounds of each point of the axes."""
    points = list(dict.fromkeys(method.point for method in ranked))
    found = []
    for point in points:
        bounds = bounds_at(ranked, point)
        where = f"At {point}: " if len(points) > 1 else ""
        if bounds.lower is not None and bounds.upper is not None:
            offline = ", which learned offline" if _is_online(bounds.lower) and not _is_online(bounds.upper) else ""
            text = f"lower bound {bounds.lower.label}, upper bound {bounds.upper.label}{offline}"
        else:
            text = f"no share of a gap can be given, since {bounds.why}. The option --bounds true of compare adds the bounds that are missing"
        found.append(f"{where}{text[0].upper() if not where else text[0]}{text[1:]}.")
    return found[:most] + ([f"... and {len(found) - most} further settings."] if len(found) > most else [])


def _is_online(method: Method) -> bool:
    return any(run.results.anytime_accuracy is not None for run in method.complete)
