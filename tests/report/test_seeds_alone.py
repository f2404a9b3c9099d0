"""The seed alone as the unit: equal to scipy on the same numbers, quiet where spread vanishes."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats

from lightning_vision.report.statistics import SeedTest, all_pairs, holm, mcnemar, paired_t, t_interval

FIRST, SECOND = [0.71, 0.78, 0.74, 0.80], [0.69, 0.73, 0.75, 0.74]


@pytest.fixture(autouse=True)
def no_warning() -> None:
    warnings.simplefilter("error")


def test_the_interval_is_scipys() -> None:
    found = t_interval(FIRST)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(FIRST), scale=stats.sem(FIRST))
    assert [found.mean, found.low, found.high] == [np.mean(FIRST), low, high]
    # By hand: mean 0.7575, s = 0.04031, t(0.975, 3) = 3.1824, so 0.7575 -+ 3.1824 * 0.04031 / 2.
    assert found.low == pytest.approx(0.7575 - 3.1824 * 0.04031 / 2, abs=1e-5)


def test_one_seed_has_no_interval_and_equal_seeds_have_an_empty_one() -> None:
    assert (t_interval([0.7]).low, t_interval([0.7]).high) == (None, None)
    same = t_interval([0.7, 0.7, 0.7])
    assert same.low == same.high == pytest.approx(0.7)


def test_the_paired_test_is_scipys() -> None:
    assert paired_t(FIRST, SECOND) == stats.ttest_rel(FIRST, SECOND).pvalue
    # By hand: differences 0.02, 0.05, -0.01, 0.06 with mean 0.03 and s = 0.03162, so t = 0.03 * 2 / 0.03162 = 1.897.
    assert paired_t(FIRST, SECOND) == pytest.approx(2 * stats.t.sf(1.8974, 3), abs=1e-4)
    assert paired_t(FIRST, SECOND) == paired_t(SECOND, FIRST)


def test_without_any_difference_p_is_one() -> None:
    assert paired_t(FIRST, FIRST) == 1.0


def test_a_constant_difference_gives_zero_whatever_the_last_digits() -> None:
    assert paired_t([0.7, 0.8, 0.9], [0.6, 0.7, 0.8]) == 0.0  # 0.7 - 0.6 is not 0.8 - 0.7 in binary
    assert paired_t([0.91, 0.92, 0.95], [0.90, 0.91, 0.94]) == 0.0


def test_a_constant_difference_has_the_least_spread_that_is_given() -> None:
    found = paired_t([0.7, 0.8, 0.9], [0.6, 0.7, 0.8], least_spread=0.1)
    assert found == pytest.approx(2 * stats.t.sf(math.sqrt(3), 2))


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.03, 0.04: 3 * 0.01, 2 * 0.03, then the larger of 0.06 and 0.04.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_all_pairs_are_tested_over_common_seeds_and_corrected_together() -> None:
    methods = {
        "a": {0: 0.71, 1: 0.78, 2: 0.74, 3: 0.80},
        "b": {0: 0.69, 1: 0.73, 2: 0.75, 3: 0.74, 9: 0.1},
        "c": {0: 0.60, 1: 0.66, 2: 0.64},
        "d": {0: 0.5, 1: 0.5},
    }
    tests = all_pairs(methods)
    assert tests["a", "b"].seeds == (0, 1, 2, 3)
    assert tests["a", "b"].p_value == stats.ttest_rel(FIRST, SECOND).pvalue
    p_ac = stats.ttest_rel(FIRST[:3], [0.60, 0.66, 0.64]).pvalue
    p_bc = stats.ttest_rel(SECOND[:3], [0.60, 0.66, 0.64]).pvalue
    corrected = holm([float(tests["a", "b"].p_value or 0), float(p_ac), float(p_bc)])
    assert [tests[pair].p_holm for pair in (("a", "b"), ("a", "c"), ("b", "c"))] == corrected
    assert tests["a", "d"].p_value is None and tests["a", "d"].p_holm is None
    assert tests["a", "d"].difference is not None


def test_a_pair_is_the_same_both_ways_round() -> None:
    tests = all_pairs({"a": dict(enumerate(FIRST)), "b": dict(enumerate(SECOND))})
    one, other = tests["a", "b"].difference, tests["b", "a"].difference
    assert one is not None and other is not None and one.low is not None
    assert (other.mean, other.low, other.high) == (-one.mean, -(one.high or 0), -one.low)


def test_no_common_seed_is_no_test() -> None:
    assert all_pairs({"a": {0: 0.5}, "b": {1: 0.6}})["a", "b"] == SeedTest((), None, None)


def test_the_same_difference_of_one_picture_in_three_seeds_is_no_proof() -> None:
    fine = all_pairs({"a": {0: 0.71, 1: 0.78, 2: 0.74}, "b": {0: 0.70, 1: 0.77, 2: 0.73}})
    coarse = all_pairs({"a": {0: 0.71, 1: 0.78, 2: 0.74}, "b": {0: 0.70, 1: 0.77, 2: 0.73}}, resolution=0.01)
    assert fine["a", "b"].p_value == 0.0
    # By hand: t = 0.01 * sqrt(3) / (0.01 / sqrt(6)) = sqrt(18).
    assert coarse["a", "b"].p_value == pytest.approx(2 * stats.t.sf(math.sqrt(18), 2))
    difference = coarse["a", "b"].difference
    assert difference is not None and difference.low is not None and difference.low < 0 < difference.mean
    same = all_pairs({"a": {0: 0.71, 1: 0.78, 2: 0.74}, "b": {0: 0.71, 1: 0.78, 2: 0.74}}, resolution=0.01)["a", "b"]
    assert (same.p_value, same.difference) == (1.0, t_interval([0.0, 0.0, 0.0]))


def test_a_resolution_changes_nothing_where_differences_differ() -> None:
    methods = {"a": dict(enumerate(FIRST)), "b": dict(enumerate(SECOND))}
    assert all_pairs(methods) == all_pairs(methods, resolution=0.01)


@pytest.mark.parametrize(("one", "other"), [(3, 12), (12, 3), (7, 7), (0, 0), (1, 0)])
def test_mcnemar_is_the_exact_binomial_test(one: int, other: int) -> None:
    expected = stats.binomtest(one, one + other).pvalue if one + other else 1.0
    assert mcnemar(one, other) == pytest.approx(min(1.0, expected))


def called_different(methods: dict[str, dict[int, float]], resolution: float) -> bool:
    return any((test.p_holm or 0.0) < 0.05 for test in all_pairs(methods, resolution).values())


@pytest.mark.parametrize("pictures", [0, 360])
def test_a_strategy_compared_with_itself_is_seldom_called_different(pictures: int) -> None:
    """1,000 comparisons of a strategy with itself over five seeds, which move both runs alike."""
    rng = np.random.default_rng(0)
    different = 0
    for _ in range(1000):
        seed_effect = rng.normal(0, 0.02, 5)
        runs = 0.9 + seed_effect + rng.normal(0, 0.01, (2, 5))
        runs = np.round(runs * pictures) / pictures if pictures else runs
        methods = {name: dict(enumerate(row)) for name, row in zip("ab", runs.tolist(), strict=True)}
        different += called_different(methods, 1 / pictures if pictures else 0.0)
    assert 0.03 <= different / 1000 <= 0.07  # 5 % are expected


def test_five_equal_strategies_with_three_seeds_on_a_small_test_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seeds move accuracies by a picture or so: without a least spread one comparison in five finds a difference."""
    monkeypatch.setattr("gc.collect", lambda: 0)  # statsmodels collects garbage at each call, which takes 50 ms
    rng = np.random.default_rng(0)
    runs = np.round((0.9 + rng.normal(0, 0.01, (100, 5, 3))) * 100) / 100
    draws = [{name: dict(enumerate(row)) for name, row in zip("abcde", draw, strict=True)} for draw in runs.tolist()]
    assert sum(called_different(draw, 0.01) for draw in draws) <= 7
    assert sum(called_different(draw, 0.0) for draw in draws) > 7
