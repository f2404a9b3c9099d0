"""Tests between all pairs of methods, with Holm's correction, and the reasons why pairs were not tested."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from operator import attrgetter

import numpy as np

from lightning_vision.report.folds import by_fold, share_tested
from lightning_vision.report.matrices import Matrix, match
from lightning_vision.report.proportion import Interval
from lightning_vision.report.runs import Method
from lightning_vision.report.statistics import FEWEST_SEEDS, PairTest, difference_test, fold_test, holm

Pairs = dict[tuple[str, str], "Pair"]


@dataclass(frozen=True)
class Pair:
    """One method against another that stands before it in the ranking."""

    difference: Interval | None
    """Of their test accuracies over the seeds that both have; None without one."""
    test: PairTest | None = None
    """On common seeds and images; None where there are none. It has ``p_holm`` where there is a verdict."""
    why: str = ""
    """Why there is no verdict; "" where there is one."""
    family: int = 0
    """How many pairs Holm's correction is over."""

    @property
    def p_holm(self) -> float | None:
        """The corrected p-value; None where there is no verdict: it takes ``FEWEST_SEEDS`` common seeds."""
        return None if self.test is None else self.test.p_holm


def image_pairs(ranked: Sequence[Method], matrices: Mapping[str, Matrix | None]) -> Pairs:
    """Test methods on the seeds and the test images that both have.

    Args:
        ranked: Best first.
        matrices: By label.

    Returns:
        By labels, the later method of the ranking first.
    """

    def compare(later: Method, earlier: Method) -> Pair:
        difference = _mean_difference(later, earlier)
        if difference is None:
            return Pair(None, why="no common seed")
        one, other = matrices[later.label], matrices[earlier.label]
        if one is None or other is None:
            return Pair(difference, why="no predictions")
        matched = match(one, other)
        if matched is None:
            both = set(one.seeds) & set(other.seeds)
            return Pair(difference, why="no common test images" if both else "no predictions of a common seed")
        test = difference_test(matched.first, matched.second, groups=matched.groups)
        few = f"fewer than {FEWEST_SEEDS} common seeds" if test.seeds < FEWEST_SEEDS else ""
        return Pair(test.difference, test, why=few or ("" if test.p_value is not None else "a single case"))

    return _corrected(ranked, compare)


def fold_pairs(ranked: Sequence[Method]) -> Pairs:
    """Test methods on the folds of a cross-validation that both have.

    Args:
        ranked: Best first; all runs are of folds.

    Returns:
        By labels, the later method of the ranking first.
    """

    def compare(later: Method, earlier: Method) -> Pair:
        one, other = ({run.seed: run for run in method.complete} for method in (later, earlier))
        seeds = sorted(one.keys() & other.keys())
        if not seeds:
            return Pair(None, why="no common fold")
        runs = [one[seed] for seed in seeds]
        first, second = (by_fold(of, attrgetter("accuracy")) for of in (runs, [other[seed] for seed in seeds]))
        test = fold_test(list(first.values()), list(second.values()), share_tested(runs))
        few = f"fewer than {FEWEST_SEEDS} common folds" if test.seeds < FEWEST_SEEDS else ""
        return Pair(test.difference, test, why=few or ("" if test.p_value is not None else "the same in every fold"))

    return _corrected(ranked, compare)


def _corrected(ranked: Sequence[Method], compare: Callable[[Method, Method], Pair]) -> Pairs:
    """Test every pair, and correct by Holm's method.

    The pairs that a reader wants are those with the best method. But which is the best is chosen by the very numbers that
    are then tested: among equal methods the luckiest is picked, and the differences to it are the largest there are. Whatever
    method is picked, its pairs are among all pairs, so the correction over all of them keeps the promise. All pairs are those
    at one point of the axes; a pair of methods at two points is corrected for all pairs of the stream.
    """
    pairs = {(later.label, earlier.label): compare(later, earlier) for earlier, later in combinations(ranked, 2)}
    point = {method.label: method.point for method in ranked}
    corrected = _holm(pairs)
    for place in set(point.values()):
        corrected |= _holm(
            {pair: found for pair, found in pairs.items() if {point[label] for label in pair} == {place}}
        )
    return corrected


def _holm(pairs: Pairs) -> Pairs:
    """The pairs of one family with their corrected p-values."""
    p_values = {
        pair: found.test.p_value
        for pair, found in pairs.items()
        if not found.why and found.test is not None and found.test.p_value is not None
    }
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return {
        pair: replace(found, test=found.test and replace(found.test, p_holm=corrected.get(pair)), family=len(p_values))
        for pair, found in pairs.items()
    }


def _mean_difference(later: Method, earlier: Method) -> Interval | None:
    """The mean difference over the seeds that both have, of which nothing more is known; None without one."""
    one, other = ({run.seed: run.accuracy or 0.0 for run in method.complete} for method in (later, earlier))
    values = [one[seed] - other[seed] for seed in one.keys() & other.keys()]
    return Interval(float(np.mean(values)), None, None) if values else None
