"""ACIL against ridge regression, the recursion of the paper, and numbers worked out by hand."""

import numpy as np
import pytest
import torch
from coloured_squares import ColouredSquares
from feature_clouds import bare_network, clouds, learn, logits
from torch import Tensor

from lightning_vision.errors import ConfigError
from strategies.acil import ACIL

C, D, M = 3, 12, 40
EXPERIENCE = ColouredSquares().stream[0]


def recursion(h: Tensor, y: Tensor, gamma: float, batch_size: int) -> Tensor:
    """W (M, C) by equations 9 and 10 of the paper, batch by batch: R is the inverse of G + gamma I."""
    r = torch.eye(h.shape[1], dtype=h.dtype) / gamma
    w = torch.zeros(h.shape[1], y.shape[1], dtype=h.dtype)
    for start in range(0, len(h), batch_size):
        x, targets = h[start : start + batch_size], y[start : start + batch_size]
        k = torch.linalg.inv(torch.eye(len(x), dtype=h.dtype) + x @ r @ x.T)
        r = r - r @ x.T @ k @ x @ r
        w = w + r @ x.T @ (targets - x @ w)
    return w


@pytest.mark.parametrize("batch_size", [30, 16, 1])
@pytest.mark.parametrize("gamma", [0.1, 10.0])
def test_equal_to_the_papers_recursion_and_to_ridge_regression(gamma: float, batch_size: int) -> None:
    features, labels = clouds(C, 40, D)
    strategy = ACIL(M, gamma)
    learn(strategy, bare_network(), features, labels, EXPERIENCE, batch_size=batch_size)
    h, y = (features.double() @ strategy.projection.double()).relu(), torch.eye(C).double()[labels]
    w = strategy.weight.T
    solved = torch.linalg.solve(h.T @ h + gamma * torch.eye(M).double(), h.T @ y)
    np.testing.assert_allclose(w, solved, rtol=0, atol=1e-10)
    # The recursion subtracts its way to the inverse, which costs digits in batches with more images than M.
    np.testing.assert_allclose(h @ w, h @ recursion(h, y, gamma, batch_size), rtol=0, atol=1e-10)
    np.testing.assert_allclose(logits(strategy, bare_network(), features), h @ w, rtol=0, atol=1e-6)


def test_three_images_by_hand() -> None:
    """v W = (2, -1), (0, 3), (1, 1); h = (2, 0), (0, 3), (1, 1) of classes 0, 1, 0; gamma 1."""
    strategy = ACIL(2, gamma=1.0)
    strategy.draw = lambda dimensions: torch.eye(2)  # type: ignore[method-assign]
    v = torch.tensor([[2.0, -1.0], [0.0, 3.0], [1.0, 1.0]])
    network = bare_network(2, 2)
    learn(strategy, network, v, torch.tensor([0, 1, 0]), EXPERIENCE)
    # G + I = [[6, 1], [1, 11]], its inverse [[11, -1], [-1, 6]] / 65; Q = [[3, 0], [1, 3]]
    np.testing.assert_allclose(strategy.weight.T, np.array([[32, -3], [3, 18]]) / 65, rtol=1e-12)
    found = logits(strategy, network, torch.tensor([[1.0, 2.0]]))
    np.testing.assert_allclose(found, [[(32 + 6) / 65, (-3 + 36) / 65]], rtol=1e-6)


def test_the_expansion_is_drawn_as_the_authors_do() -> None:
    """Uniform on [-1/sqrt(D), 1/sqrt(D)], from the run's seed unless another is given."""

    def drawn(run_seed: int, seed: int | None = None) -> Tensor:
        strategy = ACIL(4000, seed=seed)
        strategy.run_seed = run_seed
        return strategy.draw(16)

    w = drawn(0)
    assert w.shape == (16, 4000) and w.dtype == torch.float32
    assert 0.2499 < float(w.max()) <= 0.25 and -0.25 <= float(w.min()) < -0.2499
    assert float(w.std()) == pytest.approx(0.5 / 12**0.5, rel=0.01) and abs(float(w.mean())) < 0.003
    assert torch.equal(w, drawn(0)) and not torch.equal(w, drawn(1))
    assert torch.equal(drawn(0, 3), drawn(1, 3)) and not ACIL(4).draws_nothing


def test_a_gamma_too_small_to_solve() -> None:
    features, labels = clouds(C, 4, D)
    with pytest.raises(ConfigError, match=r"ACIL: gamma 1e-30 is too small .* Expected \S+ or more\.$"):
        learn(ACIL(M, gamma=1e-30), bare_network(), features, labels, EXPERIENCE)
