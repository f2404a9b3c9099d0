"""Thresholds, the curve of risk over coverage, and the bound on the risk."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest

from lightning_vision.errors import ConfigError
from lightning_vision.trust.rejection import (
    area_under_risk_coverage,
    at_threshold,
    risk_coverage,
    threshold_for_coverage,
    threshold_for_risk,
)

SURE = np.array([0.9, 0.6, 0.8, 0.7, 0.5])
RIGHT = np.array([True, False, True, False, True])


def test_coverage_by_hand() -> None:
    for wanted, threshold in ((0.2, 0.9), (0.21, 0.8), (0.6, 0.7), (1.0, 0.5)):
        chosen = threshold_for_coverage(SURE, RIGHT, wanted)
        assert chosen.threshold == threshold
        assert chosen.coverage >= wanted
    assert threshold_for_coverage(SURE, RIGHT, 0.6).risk == pytest.approx(1 / 3)


def test_risk_by_hand() -> None:
    """In order of confidence: right, right, wrong, wrong, right, so the risks are 0, 0, 1/3, 2/4, 2/5."""
    for wanted, threshold, coverage in ((0.0, 0.8, 0.4), (0.35, 0.7, 0.6), (0.4, 0.5, 1.0), (0.9, 0.5, 1.0)):
        chosen = threshold_for_risk(SURE, RIGHT, wanted)
        assert (chosen.threshold, chosen.coverage) == (threshold, coverage)
        assert chosen.risk is not None and chosen.risk <= wanted


def test_images_of_equal_confidence_are_accepted_together() -> None:
    sure, right = np.array([0.9, 0.9, 0.9, 0.5]), np.array([True, True, False, True])
    assert threshold_for_coverage(sure, right, 0.25).accepted == 3
    with pytest.raises(ConfigError, match=r"--risk 0\.1: no threshold .* the smallest risk is 0\.2500, with 4 of them"):
        threshold_for_risk(sure, right, 0.1)


def test_at_a_threshold_of_elsewhere() -> None:
    chosen = at_threshold(SURE, RIGHT, 0.65)
    assert (chosen.accepted, chosen.errors, chosen.coverage) == (3, 1, 0.6)
    nothing = at_threshold(SURE, RIGHT, 0.95)
    assert (nothing.risk, nothing.risk_bound, nothing.coverage) == (None, None, 0.0)


@pytest.mark.parametrize(("errors", "accepted"), [(0, 40), (3, 40), (40, 40)])
def test_the_bound_is_clopper_and_pearsons(errors: int, accepted: int) -> None:
    right = np.arange(accepted) >= errors
    bound = at_threshold(np.ones(accepted), right, 0.5).risk_bound
    assert bound == pytest.approx(binomtest(errors, accepted).proportion_ci(0.90, "exact").high)


def test_the_curve_by_hand() -> None:
    coverage, risk = risk_coverage(SURE, RIGHT)
    assert coverage.tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert risk.tolist() == pytest.approx([0, 0, 1 / 3, 2 / 4, 2 / 5])
    assert area_under_risk_coverage(SURE, RIGHT) == pytest.approx((1 / 3 + 1 / 2 + 2 / 5) / 5)


def test_ties_count_as_the_mean_over_all_orders() -> None:
    sure, right = np.array([0.9, 0.7, 0.7, 0.7, 0.2]), np.array([True, False, True, False, True])
    orders = []
    for order in itertools.permutations((1, 2, 3)):
        wrong = ~right[[0, *order, 4]]
        orders.append(np.cumsum(wrong) / np.arange(1, 6))
    assert risk_coverage(sure, right)[1] == pytest.approx(np.mean(orders, axis=0))


def test_the_best_order_has_the_smallest_area() -> None:
    generator = np.random.default_rng(0)
    right = generator.uniform(size=200) < 0.8
    best = area_under_risk_coverage(right + generator.uniform(size=200) / 2, right)
    assert (
        best
        < area_under_risk_coverage(generator.uniform(size=200), right)
        < area_under_risk_coverage(~right * 1.0, right)
    )
