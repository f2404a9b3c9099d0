"""Shrinkage: OAS beside scikit-learn's, and cross-validation by the hat matrix of a ridge regression."""

import pytest
import torch
from feature_clouds import clouds
from sklearn.covariance import OAS
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from strategies.nearest_mean import class_sums
from strategies.shrinkage import RATIOS, TOLERANCE, oas, pick_shrinkage


@pytest.mark.parametrize("count", [2, 5, 80])
def test_oas_is_scikit_learns(count: int) -> None:
    v = clouds(classes=1, per_class=count)[0].double()
    theirs = torch.from_numpy(OAS(assume_centered=True).fit(v.numpy()).covariance_)
    torch.testing.assert_close(oas(v.T @ v / count, count), theirs, rtol=1e-12, atol=1e-14)


def test_oas_of_a_round_covariance_is_itself() -> None:
    """There is nothing left to shrink, and nothing to divide by."""
    torch.testing.assert_close(oas(3 * torch.eye(4).double(), 10), 3 * torch.eye(4).double())


def statistics(v: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    sums, counts = class_sums(v, labels, 3)
    d = v.double() - (sums / counts[:, None])[labels]
    return d.T @ d, sums, counts


@pytest.mark.parametrize(("per_class", "dimensions"), [(4, 30), (30, 12)])
def test_it_is_the_ridge_regression_with_the_least_gcv(per_class: int, dimensions: int) -> None:
    """By the hat matrix H of the regression: |Y - H Y|^2 / (n - tr H)^2."""
    v, labels = clouds(per_class=per_class, dimensions=dimensions)
    x, y = v.double() - v.double().mean(dim=0), F.one_hot(labels).double()
    n, scatter = len(x), statistics(v, labels)[0]
    gcv = {}
    for ratio in RATIOS:
        ridge = ratio * scatter.trace() / dimensions
        hat = x @ torch.linalg.inv(x.T @ x + ridge * torch.eye(dimensions)) @ x.T + 1 / n
        gcv[ratio / (1 + ratio)] = float((y - hat @ y).square().sum() / (n - hat.trace()) ** 2)
    best = min(gcv.values())
    assert pick_shrinkage(*statistics(v, labels)) == max(rho for rho in gcv if gcv[rho] <= (1 + TOLERANCE) * best)


def test_the_unit_of_the_features_plays_no_part_and_their_number_does() -> None:
    few, many = clouds(per_class=6, dimensions=30), clouds(per_class=300, dimensions=30)
    picked = pick_shrinkage(*statistics(*few))
    assert picked == pick_shrinkage(*statistics(1000 * few[0], few[1]))
    assert pick_shrinkage(*statistics(*many)) < 0.2 * picked


def test_one_class_leaves_nothing_to_pick_by() -> None:
    """All regressions are right then: the largest it is."""
    v, _ = clouds(classes=1)
    assert pick_shrinkage(*statistics(v, torch.zeros(len(v), dtype=torch.int64).add(1))) == RATIOS[-1] / (
        1 + RATIOS[-1]
    )
