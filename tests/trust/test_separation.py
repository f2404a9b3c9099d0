"""AUROC, AUPR and FPR at 95 % against counts by hand and pytorch-ood's."""

import itertools

import numpy as np
import pytest
import torch

from lightning_vision.trust.separation import separation


def test_by_hand() -> None:
    """In-distribution 1 2 3 4, out-of-distribution 3 5: of 8 pairs 6 are in order and one is even; both orders of retrieval written out."""
    found = separation(np.array([1.0, 2, 3, 4]), np.array([3.0, 5]))
    assert found.auroc == 6.5 / 8
    # Out-of-distribution first: 5 (1 of 1), 4 (miss), then 3 and 3 together (2 of 4).
    assert found.aupr_ood == pytest.approx(0.5 * 1 + 0.5 * 2 / 4)
    # In-distribution first: 1, 2 (2 of 2), then 3 and 3 together (3 of 4), then 4 (4 of 5).
    assert found.aupr_in_distribution == pytest.approx(0.25 * 1 + 0.25 * 1 + 0.25 * 3 / 4 + 0.25 * 4 / 5)
    # 95 % of four in-distribution images are all four: up to 4 is accepted, and so is the out-of-distribution image at 3.
    assert found.fpr95 == 0.5


def test_the_share_accepted_is_at_least_95_percent_of_in_distribution() -> None:
    in_distribution = np.arange(100.0)
    assert separation(in_distribution, np.array([94.0])).fpr95 == 1.0
    assert separation(in_distribution, np.array([94.5])).fpr95 == 0.0


def test_as_pytorch_ood_counts() -> None:
    from pytorch_ood.metrics import functional

    generator = np.random.default_rng(0)
    in_distribution, ood = generator.normal(0, 1, 300).round(1), generator.normal(1, 1, 200).round(1)
    scores = torch.from_numpy(np.concatenate([in_distribution, ood]))
    labels = torch.tensor([0] * 300 + [-1] * 200)
    found = separation(in_distribution, ood)
    assert found.auroc == pytest.approx(float(functional.auroc(scores, labels)))
    # Its true positives are out-of-distribution: swapped and negated they are in-distribution.
    turned = torch.tensor([-1] * 300 + [0] * 200)
    assert found.fpr95 == pytest.approx(float(functional.fpr_at_tpr(-scores, turned, tpr=0.95)))


def test_only_the_order_counts() -> None:
    generator = np.random.default_rng(1)
    in_distribution, ood = generator.normal(size=50), generator.normal(1, 1, 40)
    assert separation(np.exp(in_distribution), np.exp(ood)) == separation(in_distribution, ood)


def test_extremes() -> None:
    apart, mixed = separation(np.zeros(30), np.ones(10)), separation(np.zeros(30), np.zeros(10))
    assert (apart.auroc, apart.aupr_in_distribution, apart.aupr_ood, apart.fpr95) == (1, 1, 1, 0)
    assert (mixed.auroc, mixed.aupr_in_distribution, mixed.aupr_ood, mixed.fpr95) == (0.5, 0.75, 0.25, 1)


@pytest.mark.parametrize(("in_distribution", "ood"), list(itertools.product((0, 3), (0, 3)))[:3])
def test_both_sides_are_needed(in_distribution: int, ood: int) -> None:
    with pytest.raises(ValueError, match=f"found {in_distribution} in-distribution and {ood} out-of-distribution"):
        separation(np.zeros(in_distribution), np.zeros(ood))
