"""KLDA against numpy's discriminant on the same random features, and the kernel that they approximate."""

import math

import numpy as np
import pytest
import torch
from coloured_squares import ColouredSquares
from feature_clouds import bare_network, clouds, learn, logits
from torch import Tensor

from lightning_vision.errors import ConfigError
from strategies.klda import KLDA
from strategies.nearest_mean import class_sums, shift_of_means

C, D, M = 3, 12, 30
EXPERIENCE = ColouredSquares().stream[0]


def learned(strategy: KLDA, features: Tensor, labels: Tensor) -> KLDA:
    learn(strategy, bare_network(), features, labels, EXPERIENCE)
    return strategy


@pytest.mark.parametrize("shrinkage", [1e-3, 0.0, None])
def test_equal_to_the_discriminant_of_its_random_features(shrinkage: float | None) -> None:
    features, labels = clouds(C, 60, D)
    strategy = learned(KLDA(M, 0.05, shrinkage), features, labels)
    omega, b = (part.double().numpy() for part in (strategy.projection[:D], strategy.projection[D]))
    phi = math.sqrt(2 / M) * np.cos(features.double().numpy() @ omega + b)
    np.testing.assert_allclose(strategy.fourier_features(features.double()), phi, atol=1e-12)
    mu = np.stack([phi[labels == c].mean(axis=0) for c in range(C)])
    centred = phi - mu[labels]
    sigma = centred.T @ centred / len(phi)
    np.testing.assert_allclose(strategy.scatter / len(phi), sigma, rtol=0, atol=1e-12)
    eps, nu = float(strategy.picked), 1.0 if shrinkage is not None else np.diag(sigma).mean()
    assert shrinkage in (None, eps)
    solved = np.linalg.solve((1 - eps) * sigma + eps * nu * np.eye(M), mu.T)
    expected = phi @ solved - (mu.T * solved).sum(axis=0) / 2
    found = logits(strategy, bare_network(), features)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert (found.argmax(dim=1) == labels).float().mean() > 0.9


def test_inner_products_approximate_the_kernel() -> None:
    """exp(-gamma |v - v'|^2), to the 1 / sqrt(M) of a Monte Carlo estimate."""
    features, labels = clouds(C, 10, D)
    strategy = learned(KLDA(2_000, gamma=0.03, shrinkage=0.5), features[:2], labels[:2])
    phi = strategy.fourier_features(features.double())
    expected = torch.exp(-0.03 * torch.cdist(features.double(), features.double()).square())
    assert float((phi @ phi.T - expected).abs().max()) < 4 / math.sqrt(2_000)
    assert float(expected.min()) < 0.3, "a kernel of nothing but 1 would prove little"


def test_it_separates_what_no_line_separates() -> None:
    """A class around another one: the discriminant of the features themselves cannot, their kernel can."""
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(400, 2, generator=generator)
    labels = (v.norm(dim=1) > 1.2).long()
    network, strategy = bare_network(2, 2), KLDA(200, gamma=0.5)
    learn(strategy, network, v, labels, EXPERIENCE)
    assert (logits(strategy, network, v).argmax(dim=1) == labels).float().mean() > 0.93


def test_three_images_by_hand() -> None:
    """omega and b are 0: phi is sqrt(2) for each image, and only the number of images is left."""
    strategy, network = KLDA(1, shrinkage=1.0), bare_network(2, 2)
    strategy.update(network, torch.ones(3, 2), torch.tensor([0, 1, 0]))
    strategy.absorb_waiting(network)
    strategy.projection.zero_()
    strategy.sums = torch.tensor([[2.0], [-1.0]]).double()  # means 1 and -1
    found = logits(strategy, network, torch.zeros(1, 2))
    np.testing.assert_allclose(found, [[math.sqrt(2) - 0.5, -math.sqrt(2) - 0.5]], rtol=1e-6)


def test_the_shift_of_two_means_by_hand() -> None:
    """1 and 3, then 6: scatter 2 within the first two, mean 2; with 6 it is 2 + 0 + 2 * 1 / 3 * 4^2 = 38 / 3."""
    sums, counts = class_sums(torch.tensor([[1.0], [3.0]]), torch.zeros(2, dtype=torch.int64), 2)
    more_sums, more = class_sums(torch.tensor([[6.0]]), torch.zeros(1, dtype=torch.int64), 2)
    shift = shift_of_means(sums, counts, more_sums, more)
    assert float(shift[0].square()) == pytest.approx(32 / 3) and float(shift[1]) == 0


def test_its_draws_follow_the_runs_seed() -> None:
    features, labels = clouds(C, 20, D)

    def drawn(run_seed: int, seed: int | None = None) -> Tensor:
        strategy = KLDA(M, seed=seed)
        strategy.run_seed = run_seed
        return learned(strategy, features, labels).projection

    first = drawn(0)
    assert first.shape == (D + 1, M) and float(first[-1].min()) >= 0 and float(first[-1].max()) < 2 * math.pi
    assert torch.equal(first, drawn(0)) and not torch.equal(first, drawn(1))
    assert torch.equal(drawn(0, 3), drawn(1, 3)) and not KLDA().draws_nothing


def test_what_it_cannot_work_with() -> None:
    features, labels = clouds(C, 5, D)
    with pytest.raises(ConfigError, match=r"KLDA: expected expansion >= 1 and gamma > 0; found 0, 0\.001\."):
        KLDA(0)
    with pytest.raises(ConfigError, match=r"KLDA: expected a shrinkage from 0 to 1"):
        KLDA(shrinkage=2.0)
    with pytest.raises(
        ConfigError, match=r"covariance of 30 features is singular: 15 image\(s\) so far\. KLDA: expected"
    ):
        learned(KLDA(M, shrinkage=0.0), features, labels)
