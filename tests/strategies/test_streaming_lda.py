"""StreamingLDA: the recursion one sample after the other, its matrix form, and singular covariances."""

import pytest
import torch
from coloured_squares import ColouredSquares
from feature_clouds import bare_network, clouds, learn, logits
from torch import Tensor

from lightning_vision.errors import ConfigError
from strategies import streaming_lda
from strategies.streaming_lda import StreamingLDA, cholesky_factor, discriminant, stream_covariance

C, D = 3, 12


def oracle(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Means (C, D) and covariance (D, D) as the paper writes them: one sample after the other."""
    mu, n, sigma = torch.zeros(C, D).double(), torch.zeros(C).double(), torch.zeros(D, D).double()
    for t, (z, y) in enumerate(zip(features.double(), labels.tolist(), strict=True)):
        delta = t / (t + 1) * torch.outer(z - mu[y], z - mu[y])
        sigma = (t * sigma + delta) / (t + 1)
        mu[y] = (n[y] * mu[y] + z) / (n[y] + 1)
        n[y] += 1
    return mu, sigma


def empty() -> tuple[Tensor, Tensor, Tensor]:
    return torch.zeros(D, D).double(), torch.zeros(C, D).double(), torch.zeros(C, dtype=torch.int64)


@pytest.mark.parametrize("batch_size", [1, 7, 120])
def test_any_cut_into_batches_gives_the_recursion(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming_lda, "CHUNK", 50)  # the largest batch is cut again inside
    features, labels = clouds()
    mu, sigma = oracle(features, labels)
    state = empty()
    for start in range(0, len(labels), batch_size):
        batch = slice(start, start + batch_size)
        state = stream_covariance(*state, features[batch], labels[batch])
    scatter, sums, counts = state
    torch.testing.assert_close(scatter / len(labels), sigma, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(sums / counts[:, None], mu, rtol=1e-11, atol=1e-13)


def test_order_matters_and_inputs_are_not_changed() -> None:
    features, labels = clouds()
    state = empty()
    forwards = stream_covariance(*state, features, labels)
    assert not any(value.any() for value in state)
    backwards = stream_covariance(*empty(), features.flip(0), labels.flip(0))
    assert (forwards[0] - backwards[0]).norm() > 0.01 * forwards[0].norm()
    torch.testing.assert_close(forwards[1:], backwards[1:])


@pytest.mark.parametrize("shrinkage", [1e-4, 0.5, 1.0])
def test_logits(shrinkage: float) -> None:
    features, labels = clouds()
    network, strategy = bare_network(), StreamingLDA(shrinkage)
    learn(strategy, network, features, labels, ColouredSquares().stream[0])
    mu, sigma = oracle(features, labels)
    inverse = torch.linalg.inv((1 - shrinkage) * sigma + shrinkage * torch.eye(D))
    expected = features.double() @ inverse @ mu.T - 0.5 * (mu @ inverse * mu).sum(dim=1)
    found = logits(strategy, network, features)
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)
    assert (found.argmax(dim=1) == labels).float().mean() > 0.9


def test_fewer_pictures_than_features_need_shrinkage() -> None:
    features, labels = clouds(per_class=3)
    experience = ColouredSquares().stream[0]
    learn(StreamingLDA(), bare_network(), features, labels, experience)
    found = r"12 features is singular: 9 picture\(s\) came so far. StreamingLDA: expected a larger shrinkage .* found 0"
    with pytest.raises(ConfigError, match=found):
        learn(StreamingLDA(0.0), bare_network(), features, labels, experience)
    learn(StreamingLDA(0.0), bare_network(), *clouds(per_class=10), experience)


def test_a_nearly_singular_covariance_is_not_inverted() -> None:
    """Rounding leaves tiny positive pivots, from which an inverse of pure noise would follow."""
    rank_2 = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for matrix in (rank_2 @ rank_2.T, torch.zeros(6, 6).double(), torch.full((6, 6), torch.nan).double()):
        with pytest.raises(ConfigError, match="The covariance of 6 features is singular: do this"):
            cholesky_factor(matrix, "do this")


def test_a_class_without_a_picture() -> None:
    state = stream_covariance(*empty(), *clouds(classes=2))
    weight, bias = discriminant(*state, 1e-4)
    assert not weight[2].any() and bias[2] == -torch.inf and torch.isfinite(bias[:2]).all()


@pytest.mark.parametrize("shrinkage", [-0.1, 1.5, float("nan")])
def test_impossible_options(shrinkage: float) -> None:
    with pytest.raises(ConfigError, match="StreamingLDA: expected a shrinkage from 0 to 1, found"):
        StreamingLDA(shrinkage)
