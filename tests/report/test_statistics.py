"""How sure the figures are: equal to published examples and to counting by hand, never NaN, right about chance in simulations."""

import gc
import math
import warnings
from importlib import import_module
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from lightning_vision.report.proportion import Interval, clopper_pearson, mcnemar, paired_interval, wilson
from lightning_vision.report.pseudovalues import macro_f1_pseudovalues
from lightning_vision.report.sample_size import needed
from lightning_vision.report.statistics import (
    PairTest,
    accuracy_interval,
    difference_test,
    figure_interval,
    fold_interval,
    fold_test,
    holm,
)
from lightning_vision.report.two_way import TwoWay, by_case, two_way

Correct = npt.NDArray[np.bool_]


@pytest.fixture(autouse=True)
def no_warning() -> None:
    warnings.simplefilter("error")


def runs(seeds: int, images: int, right: float = 0.75, draw: int = 0) -> Correct:
    """Images of unequal difficulty, runs that flip one in ten."""
    generator = np.random.default_rng([seeds, images, draw])
    return (generator.random(images) < right) ^ (generator.random((seeds, images)) < 0.1)


def bounds(interval: Interval) -> tuple[float, float]:
    assert interval.low is not None and interval.high is not None
    return interval.low, interval.high


# ---- published examples ----------------------------------------------------------------------------------------------


def test_mean_squares_of_shrout_and_fleiss() -> None:
    """Six targets rated by four judges: Shrout and Fleiss, Intraclass correlations, Psychological Bulletin 86 (1979), tables 2, 3."""
    ratings = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
    table = two_way(ratings.T)
    assert [table.seeds, table.cases, table.rest] == pytest.approx([32.49, 11.24, 1.02], abs=0.005)
    assert table.variance == pytest.approx((32.49 + 11.24 - 1.02) / 24, abs=1e-3)


# Printed by OR-DBM MRMC 2.51 (Schartz, Hillis, Pesce, Berbaum), trapezoidal areas, jackknife, for the data of Van Dyke et al. (1993),
# 5 readers and 114 cases, which Hillis, Berbaum and Metz, Academic Radiology 15 (2008) work through.
CASES, READERS = 114, 5
VAN_DYKE = {
    # MS(R), Var(Error), Cov2, area, standard error, Hillis's degrees of freedom, interval
    1: (0.00308263, 0.00101410, 0.00048396, 0.89703704, 0.03317360, 12.74, (0.82522360, 0.96885048)),
    2: (0.00130460, 0.00059047, 0.00020419, 0.94083736, 0.02156637, 12.71, (0.89413783, 0.98753689)),
}


def table_with(readers: float, cases: float, rest: float, mean: float) -> npt.NDArray[np.float64]:
    """A table of pseudovalues that has just these mean squares and this mean."""
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(READERS, CASES))
    rows, columns = noise.mean(axis=1, keepdims=True), noise.mean(axis=0, keepdims=True)
    left, found = noise - rows - columns + noise.mean(), two_way(noise)
    assert found.seeds and found.cases and found.rest
    by_reader = (rows - noise.mean()) * math.sqrt(readers / found.seeds)
    by_column = (columns - noise.mean()) * math.sqrt(cases / found.cases)
    table: npt.NDArray[np.float64] = mean + by_reader + by_column + left * math.sqrt(rest / found.rest)
    return table


@pytest.mark.parametrize("treatment", VAN_DYKE)
def test_one_treatment_of_van_dyke(treatment: int) -> None:
    ms_r, error, cov2, area, standard_error, df, printed = VAN_DYKE[treatment]
    values = table_with(CASES * ms_r, CASES * (error + (READERS - 1) * cov2), CASES * (error - cov2), area)
    table = two_way(values)
    assert table.variance is not None and math.sqrt(table.variance) == pytest.approx(standard_error, abs=2e-7)
    # Hillis's degrees of freedom are those of the readers alone.
    hillis = (table.variance * READERS * CASES) ** 2 / (table.seeds or 0) ** 2 * (READERS - 1)
    assert hillis == pytest.approx(df, abs=0.005)
    assert area - stats.t.ppf(0.975, hillis) * math.sqrt(table.variance) == pytest.approx(printed[0], abs=1e-6)
    low, high = bounds(figure_interval(area, values, bounds=(0.0, 2.0)))
    half = stats.t.ppf(0.975, table.degrees_of_freedom) * standard_error
    assert (low, high) == pytest.approx((area - half, area + half), abs=1e-6)
    assert (low, high) == pytest.approx(printed, abs=0.005)


def test_the_difference_of_van_dyke() -> None:
    """Printed: difference -0.04380, standard error 0.02075, t -2.11, p 0.0517 with Hillis's 15.26 degrees of freedom."""
    ms_tr, error, cov1, cov2, cov3 = 0.00055103, 0.00080229, 0.00034661, 0.00034407, 0.00023903
    rest = 2 * CASES * (error - cov1 - cov2 + cov3)
    values = table_with(2 * CASES * ms_tr, rest + 2 * CASES * READERS * (cov2 - cov3), rest, -0.04380032)
    table = two_way(values)
    assert table.variance is not None and math.sqrt(table.variance) == pytest.approx(0.02075, abs=5e-6)
    hillis = (table.variance * READERS * CASES) ** 2 / (table.seeds or 0) ** 2 * (READERS - 1)
    assert hillis == pytest.approx(15.26, abs=0.01)
    assert 2 * stats.t.sf(0.04380032 / math.sqrt(table.variance), hillis) == pytest.approx(0.0517, abs=5e-5)
    assert (table.n_seeds, table.n_cases) == (5, 114)
    ours = 2 * stats.t.sf(0.04380032 / math.sqrt(table.variance), table.degrees_of_freedom)
    assert ours == pytest.approx(0.0517, abs=0.01)


def test_satterthwaites_formula_by_hand() -> None:
    table = TwoWay(4, 6, 32.487, 11.242, 1.019)
    v = 32.487 + 11.242 - 1.019
    by_hand = v**2 / (32.487**2 / 3 + 11.242**2 / 5 + 1.019**2 / 15)
    assert table.degrees_of_freedom == pytest.approx(by_hand)
    assert TwoWay(3, 1000, 0.001, 0.09, 0.1).degrees_of_freedom == 1.0


def test_wilson_and_clopper_pearson_are_scipys() -> None:
    for successes, n in [(0, 20), (3, 20), (10, 20), (20, 20)]:
        exact = stats.binomtest(successes, n).proportion_ci(0.95, "exact")
        assert clopper_pearson(successes, n, 0.95) == pytest.approx((exact.low, exact.high))
        score = stats.binomtest(successes, n).proportion_ci(0.95, "wilson")
        assert wilson(successes / n, n, stats.norm.ppf(0.975)) == pytest.approx((score.low, score.high))


@pytest.mark.parametrize("count", [1, 2, 15, 120])
def test_holm_is_that_of_statsmodels(count: int) -> None:
    """Equal ones included."""
    p = np.random.default_rng(count).beta(0.3, 2.0, count).round(2)
    assert holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1].tolist(), abs=1e-15)


def test_holm_does_not_collect_the_garbage_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    collected: list[object] = []
    monkeypatch.setattr(gc, "collect", lambda *_: collected.append(None))
    holm([0.01, 0.04, 0.03])
    assert collected == []


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.03, 0.04: 3 * 0.01, 2 * 0.03, then the larger of 0.06 and 0.04.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(("one", "other"), [(3, 12), (12, 3), (7, 7), (0, 0), (1, 0), (400, 500)])
def test_mcnemar_is_the_exact_binomial_test(one: int, other: int) -> None:
    expected = stats.binomtest(one, one + other).pvalue if one + other else 1.0
    assert mcnemar(one, other) == pytest.approx(expected)


# ---- one method ------------------------------------------------------------------------------------------------------


def test_the_interval_of_an_accuracy_by_hand() -> None:
    correct = runs(3, 200)
    table, p = two_way(correct), correct.mean()
    by_row, by_column = correct.mean(axis=1), correct.mean(axis=0)
    left = correct - by_row[:, None] - by_column + p
    assert table.seeds == pytest.approx(200 * by_row.var(ddof=1))
    assert table.cases == pytest.approx(3 * by_column.var(ddof=1))
    assert table.rest == pytest.approx((left**2).sum() / (2 * 199))
    assert table.seeds is not None and table.cases is not None and table.rest is not None
    variance = (table.seeds + table.cases - table.rest) / 600
    assert table.variance == pytest.approx(variance)
    expected = wilson(p, p * (1 - p) / variance, stats.t.ppf(0.975, table.degrees_of_freedom))
    assert bounds(accuracy_interval(correct)) == pytest.approx(expected)


def test_all_right_is_not_100_to_100_percent() -> None:
    assert bounds(accuracy_interval(np.ones((5, 100), bool))) == pytest.approx((0.025**0.01, 1.0))
    assert bounds(accuracy_interval(np.zeros((1, 100), bool))) == pytest.approx((0.0, 1 - 0.025**0.01))
    groups = np.repeat(range(4), 25)
    assert accuracy_interval(np.ones((5, 100), bool), groups=groups).low == pytest.approx(0.025**0.25)


def test_one_wrong_image_with_one_seed_makes_nothing_surer() -> None:
    correct = np.ones((5, 100), bool)
    without = bounds(accuracy_interval(correct))
    correct[2, 7] = False
    found = accuracy_interval(correct)
    assert bounds(found)[0] < without[0] + 0.01 and 0.99 < found.mean < bounds(found)[1] < 1


def test_a_method_without_a_seed() -> None:
    still = np.tile(runs(1, 50), (3, 1))
    assert bounds(accuracy_interval(still)) == pytest.approx(bounds(accuracy_interval(still[:1])))


# ---- two methods -----------------------------------------------------------------------------------------------------


def test_seeds_that_change_nothing_leave_the_t_test_over_images() -> None:
    first, second = np.tile(runs(1, 400), (5, 1)), np.tile(runs(1, 400, draw=1), (5, 1))
    test = difference_test(first, second)
    expected = stats.ttest_rel(first[0].astype(float), second[0].astype(float))
    assert test.method == "two-way" and test.degrees_of_freedom == pytest.approx(399)
    assert test.p_value == pytest.approx(expected.pvalue)
    assert bounds(test.difference) == pytest.approx(tuple(expected.confidence_interval()))
    assert test.variance["seeds"] == 0 and test.variance["rest"] == 0


def test_one_seed_is_mcnemars_test_of_two_models() -> None:
    first, second = runs(1, 300), runs(1, 300, draw=1)
    test = difference_test(first, second)
    assert (test.method, test.variance["seeds"], test.degrees_of_freedom, test.seeds) == ("mcnemar", None, None, 1)
    assert test.p_value == mcnemar(int((first & ~second).sum()), int((second & ~first).sum()))
    assert bounds(test.difference) == pytest.approx(
        tuple(stats.ttest_rel(first[0].astype(float), second[0].astype(float)).confidence_interval())
    )


@pytest.mark.parametrize("seeds", [1, 4])
def test_few_images_that_differ_are_tested_exactly(seeds: int) -> None:
    first = np.ones((seeds, 200), bool)
    second = first.copy()
    second[:, :6], first[:, 6:7] = False, False
    test = difference_test(first, second)
    assert test.p_value == pytest.approx(stats.binomtest(1, 7).pvalue)
    assert (test.method, test.discordant) == ("mcnemar" if seeds == 1 else "exact", 7)
    assert test.difference.mean == pytest.approx(5 / 200)


@pytest.mark.parametrize(("ahead", "behind"), [(5, 0), (6, 0), (8, 1), (9, 1), (9, 2), (0, 6), (24, 0), (0, 0)])
def test_the_exact_interval_leaves_out_zero_where_the_exact_test_does(ahead: int, behind: int) -> None:
    low, high = paired_interval(ahead, behind, 300, 0.95)
    assert (low > 0 or high < 0) == (mcnemar(ahead, behind) < 0.05)
    assert -1 <= low <= (ahead - behind) / 300 <= high <= 1 and low < high


def test_the_same_method_twice() -> None:
    correct = runs(3, 100)
    test = difference_test(correct, correct)
    assert (test.p_value, test.difference.mean, test.discordant) == (1.0, 0.0, 0)
    assert bounds(test.difference) == pytest.approx((-(1 - 0.025**0.01), 1 - 0.025**0.01))


def test_seeds_that_agree_by_luck_prove_nothing() -> None:
    """Each of three runs is ahead by one image, each by another: no spread between seeds, and none of images beyond it."""
    first = np.ones((3, 200), bool)
    second = first.copy()
    second[range(3), range(3)] = False
    test = difference_test(first, second)
    assert test.p_value is not None and 0.05 < test.p_value < 0.3
    assert bounds(test.difference)[0] < 0


def test_neither_order_nor_side_matters() -> None:
    generator = np.random.default_rng(0)
    first, second, groups = runs(4, 150), runs(4, 150, draw=1), generator.integers(0, 20, 150)
    seeds, images = generator.permutation(4), generator.permutation(150)
    for given in (None, groups):
        test = difference_test(first, second, groups=given)
        shuffled = difference_test(
            first[seeds][:, images], second[seeds][:, images], groups=None if given is None else given[images]
        )
        assert shuffled.p_value == pytest.approx(test.p_value) and shuffled.variance == pytest.approx(test.variance)
        turned = difference_test(second, first, groups=given)
        assert turned.p_value == pytest.approx(test.p_value)
        assert bounds(turned.difference) == pytest.approx([-value for value in reversed(bounds(test.difference))])


# ---- groups ----------------------------------------------------------------------------------------------------------


def test_copies_of_images_in_groups_say_no_more_than_the_images() -> None:
    first, second = runs(3, 120), runs(3, 120, draw=1)
    groups = np.tile(range(120), 7)
    alone, copies = (
        difference_test(first, second),
        difference_test(np.tile(first, 7), np.tile(second, 7), groups=groups),
    )
    assert copies.p_value == pytest.approx(alone.p_value)
    assert bounds(copies.difference) == pytest.approx(bounds(alone.difference))
    assert (copies.cases, copies.images, alone.cases) == (120, 840, 120)
    one, many = accuracy_interval(first), accuracy_interval(np.tile(first, 7), groups=groups)
    assert bounds(many) == pytest.approx(bounds(one))


def test_groups_of_unequal_size_are_left_out_one_by_one() -> None:
    correct, groups = runs(3, 90), np.repeat([5, 2, 9, 4], [10, 50, 25, 5])
    found = by_case(correct, groups)
    ratio = correct.mean(axis=1)
    by_hand = np.stack([4 * ratio - 3 * correct[:, groups != g].mean(axis=1) for g in (2, 4, 5, 9)], axis=1)
    assert found == pytest.approx(by_hand - by_hand.mean(axis=1, keepdims=True) + ratio[:, None])
    assert accuracy_interval(correct, groups=groups).mean == pytest.approx(correct.mean())


def test_one_seed_in_groups_is_a_t_test_over_groups() -> None:
    first, second, groups = runs(1, 120), runs(1, 120, draw=1), np.repeat(range(12), 10)
    test = difference_test(first, second, groups=groups)
    by_group = (first.astype(float) - second).reshape(12, 10).mean(axis=1)
    assert test.method == "groups" and test.degrees_of_freedom == pytest.approx(11)
    assert test.p_value == pytest.approx(stats.ttest_1samp(by_group, 0).pvalue)


# ---- the corners -----------------------------------------------------------------------------------------------------


def finite(test: PairTest) -> None:
    """Nothing is NaN, bounds are in order and within -1 and 1."""
    values = [test.difference.mean, test.difference.low, test.difference.high, test.p_value, test.degrees_of_freedom]
    values += test.variance.values()
    assert all(value is None or math.isfinite(value) for value in values)
    if test.difference.low is not None and test.difference.high is not None:
        assert -1 <= test.difference.low <= test.difference.mean <= test.difference.high <= 1
    assert test.p_value is None or 0 <= test.p_value <= 1


def test_every_small_table_has_an_answer() -> None:
    """All pairs of tables of up to 2 x 2 and 1 x 3, with all groupings: 0 or 1 everywhere is among them."""
    for seeds, images in [(1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (3, 1)]:
        tables = [np.array(values, bool).reshape(seeds, images) for values in product((0, 1), repeat=seeds * images)]
        for groups in (None, np.zeros(images, int), np.arange(images), np.arange(images) // 2):
            for first in tables:
                low, high = bounds(accuracy_interval(first, groups=groups))
                assert 0 <= low <= first.mean() <= high <= 1 and low < high
                for second in tables:
                    test = difference_test(first, second, groups=groups)
                    finite(test)
                    assert set(needed(test)) == {"seeds", "images"}


def test_one_group_or_one_image_cannot_tell() -> None:
    first, second = runs(3, 40), runs(3, 40, draw=1)
    test = difference_test(first, second, groups=np.zeros(40, int))
    assert (test.p_value, test.difference.low, test.method, test.cases) == (None, None, "none", 1)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"same seeds and images, but got the shapes \(3, 40\) and \(3, 41\)"):
        difference_test(runs(3, 40), runs(3, 41))
    with pytest.raises(ValueError, match="group for each of the 40 images"):
        accuracy_interval(runs(3, 40), groups=np.zeros(39, int))
    with pytest.raises(ValueError, match=r"\(3, 0\)"):
        accuracy_interval(np.zeros((3, 0), bool))


# ---- figures and folds -----------------------------------------------------------------------------------------------


def test_macro_f1_of_two_classes_in_balance_is_as_sure_as_accuracy() -> None:
    label = np.repeat([0, 1], 500)
    right = np.tile(runs(3, 500), 2)
    interval = figure_interval(right.mean(), macro_f1_pseudovalues(label, np.where(right, label, 1 - label), 2))
    assert bounds(interval) == pytest.approx(bounds(accuracy_interval(right)), abs=0.003)


def test_a_figure_that_never_varies_has_no_interval() -> None:
    assert figure_interval(1.0, np.ones((3, 50))) == Interval(1.0, None, None)


def test_folds_by_hand() -> None:
    first, second = [0.71, 0.78, 0.74, 0.80, 0.77], [0.69, 0.73, 0.75, 0.74, 0.70]
    low, high = bounds(fold_interval(first, 1 / 4))
    plain = stats.t.interval(0.95, 4, loc=np.mean(first), scale=stats.sem(first))
    assert high - low == pytest.approx(1.5 * (plain[1] - plain[0]))
    test = fold_test(first, second, 1 / 4)
    t = stats.ttest_rel(first, second).statistic / 1.5
    assert test.p_value == pytest.approx(2 * stats.t.sf(t, 4))
    assert (test.method, test.seeds, test.degrees_of_freedom) == ("folds", 5, 4)


def test_folds_that_say_nothing_of_their_spread() -> None:
    assert fold_interval([0.7], 0.25) == Interval(0.7, None, None)
    assert fold_interval([0.5, 0.5, 0.5], 0.5) == Interval(0.5, None, None)
    assert fold_test([0.7, 0.8], [0.7, 0.8], 1.0).p_value == 1.0
    assert fold_test([0.7, 0.8, 0.9], [0.6, 0.7, 0.8], 0.5).p_value is None
    with pytest.raises(ValueError, match="same folds, but got 2 and 1"):
        fold_test([0.7, 0.8], [0.7], 1.0)


# ---- how many it takes -----------------------------------------------------------------------------------------------


def pair(
    difference: float, seeds: float | None, images: float, rest: float | None, s: int = 5, n: int = 1000
) -> PairTest:
    variance = {"seeds": seeds, "images": images, "rest": rest}
    return PairTest(Interval(difference, None, None), None, s, n, None, variance, "two-way", 0, n)


def test_needed_images_where_seeds_change_nothing() -> None:
    found = needed(pair(0.01, 0.0, 0.15, 0.0))["images"]
    # By the normal curve: (1.96 + 0.8416)^2 * 0.15 / 0.01^2.
    assert found == pytest.approx(7.849 * 0.15 / 1e-4, rel=0.001)
    assert needed(pair(0.01, None, 0.15, None, s=1))["images"] == found


def test_no_number_would_do() -> None:
    assert needed(pair(0.01, 0.0, 0.15, 0.0))["seeds"] is None  # more seeds show nothing new
    assert needed(pair(0.01, 0.001, 0.01, 0.05))["images"] is None  # the seeds spread too much
    assert needed(pair(0.0, 0.001, 0.1, 0.05)) == {"seeds": None, "images": None}
    assert needed(pair(0.05, None, 0.1, None, s=1))["seeds"] is None


def test_what_is_needed_is_enough_and_no_less_is() -> None:
    """Many seeds, hardly any variance of images: the power of Student's t test over seeds is in statsmodels."""
    from statsmodels.stats.power import TTestPower

    found = needed(pair(0.02, 0.0004, 0.0, 0.0, n=10**6))["seeds"]
    assert found is not None
    power = [TTestPower().power(1.0, count, 0.05) for count in (found - 1, found)]
    assert power[0] < 0.8 <= power[1]


def test_needed_in_groups_counts_images() -> None:
    first, second, groups = runs(3, 120, 0.9), runs(3, 120, 0.7, draw=1), np.repeat(range(12), 10)
    images = needed(difference_test(first, second, groups=groups))["images"]
    assert images is not None and images % 10 == 0


# ---- simulations -----------------------------------------------------------------------------------------------------


def test_200_simulations_of_equal_methods() -> None:
    """The cells of benchmarks/significance.py in small: 200 draws each with a fixed seed, then all together."""
    benchmark = import_module("benchmarks.significance")
    cells = [
        benchmark.Cell(flips, spread, seeds, 500, groups)
        for (flips, spread), seeds, groups in product([(0.0, 0.0), (0.09, 0.0), (0.01, 0.02)], (3, 5), (0, 8))
    ]
    shares = [benchmark.simulate(cell, 200, seed) for seed, cell in enumerate(cells)]
    for column, low, high in (("different", 2.5, 8.0), ("holds", 92.0, 97.0), ("difference_holds", 92.0, 97.0)):
        found = [getattr(share, column).percent for share in shares]
        # Of 200 draws, three standard errors are 4.6 points at 5 %.
        assert all(low - 4.6 <= value <= high + 4.6 for value in found), (column, found)
        assert low <= np.mean(found) <= high, (column, found)
    # By seeds alone, methods that do not depend on the seed are nearly always different, and intervals hold nothing.
    assert shares[0].peer_different.percent > 70 and shares[0].peer_holds.percent < 30


def test_200_simulations_of_a_real_difference() -> None:
    benchmark = import_module("benchmarks.significance")
    found = benchmark.simulate(benchmark.Cell(0.02, 0.0, 5, 1000, ahead=0.04), 200, 0)
    assert found.different.percent >= 80
