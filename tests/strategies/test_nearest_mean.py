"""NearestMean against numpy's means and distances."""

import numpy as np
import pytest
import torch
from coloured_squares import ColouredSquares
from feature_clouds import bare_network, clouds, learn, logits

from lightning_vision.errors import ConfigError
from strategies.nearest_mean import NearestMean, class_sums, similarity


def test_class_sums() -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    sums, counts = class_sums(features, torch.tensor([2, 0, 2]), 4)
    assert sums.tolist() == [[3, 4], [0, 0], [6, 8], [0, 0]] and sums.dtype == torch.float64
    assert counts.tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_equal_to_numpy(metric: str) -> None:
    features, labels = clouds()
    network, strategy = bare_network(), NearestMean(metric, temperature=0.25)  # type: ignore[arg-type]
    learn(strategy, network, features, labels, ColouredSquares().stream[0])
    v, y = features.numpy().astype(np.float64), labels.numpy()
    means = np.stack([v[y == c].mean(axis=0) for c in range(3)])
    if metric == "euclidean":
        expected = -((v[:, None] - means) ** 2).sum(axis=2)
    else:
        lengths = np.linalg.norm(v, axis=1)[:, None] * np.linalg.norm(means, axis=1)
        expected = v @ means.T / lengths / 0.25
    found = logits(strategy, network, features)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert found.dtype == torch.float32
    assert (found.argmax(dim=1) == labels).float().mean() > 0.8


def test_a_vector_of_length_0_is_like_nothing() -> None:
    zero, other = torch.zeros(1, 3, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)
    assert similarity(zero, other, "cosine").tolist() == [[0.0, 0.0]]
    assert similarity(zero, zero, "cosine").tolist() == [[0.0]]
    torch.testing.assert_close(similarity(zero, other, "euclidean"), torch.full((1, 2), -3.0, dtype=torch.float64))


def test_a_million_features_far_from_0_lose_nothing() -> None:
    """In float32 the running sum would stand still long before."""
    network, strategy = bare_network(classes=2, dimensions=1), NearestMean("euclidean")
    features = torch.full((100_000, 1), 1000.1)
    for _ in range(10):
        strategy.update(network, features, torch.zeros(100_000, dtype=torch.int64))
    assert strategy.counts.tolist() == [1_000_000, 0]
    assert float(strategy.sums[0, 0]) / 1e6 == pytest.approx(float(features[0, 0]), rel=1e-12)


@pytest.mark.parametrize(("metric", "temperature"), [("manhattan", 0.1), ("cosine", 0.0), ("cosine", float("nan"))])
def test_impossible_options(metric: str, temperature: float) -> None:
    with pytest.raises(
        ConfigError, match=r"expected metric cosine or euclidean and a temperature above 0; found '\w+'"
    ):
        NearestMean(metric, temperature)  # type: ignore[arg-type]
