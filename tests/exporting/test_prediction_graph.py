"""A strategy's prediction, watched and written down."""

from collections.abc import Callable

import pytest
import torch
from tiny_network import tiny_batch, tiny_experience, tiny_network
from torch import Tensor

import strategies
from lightning_vision.errors import ConfigError
from lightning_vision.exporting.prediction_graph import record_prediction
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy

D, C = 5, 4


def taught(strategy: Strategy) -> tuple[Strategy, Network]:
    """A strategy that has learned three of four classes in closed form."""
    network = tiny_network(classes=C, features=D)
    strategy.before_experience(network, tiny_experience(1, tiny_batch([0, 1, 2])))
    labels = torch.arange(60) % 3
    features = torch.rand(60, D, generator=torch.Generator().manual_seed(3)) + torch.eye(C, D)[labels]
    strategy.update(network, features, labels)
    strategy.after_experience(network, tiny_experience(1, tiny_batch([0, 1, 2])), [])
    return strategy, network


CLOSED_FORMS: dict[str, Callable[[], Strategy]] = {
    "cosine to means": strategies.NearestMean,
    "distance to means": lambda: strategies.NearestMean(metric="euclidean"),
    "discriminant": strategies.StreamingLDA,
    "random projection": lambda: strategies.RanPAC(projections=20),
    "expansion": lambda: strategies.ACIL(20),
    "two streams": lambda: strategies.DSAL(20),
    "random Fourier features": lambda: strategies.KLDA(20, gamma=0.05),
    "no projection": lambda: strategies.RanPAC(projections=None),
    "a covariance a class": strategies.FeCAM,
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_it_predicts_what_the_strategy_predicts(name: str) -> None:
    strategy, network = taught(CLOSED_FORMS[name]())

    def predict(features: Tensor) -> Tensor:
        logits = strategy.predict(network, features)
        assert isinstance(logits, Tensor)
        return logits

    graph = record_prediction(predict, D, name)
    for count in (1, 2, 9):
        features = torch.rand(count, D, generator=torch.Generator().manual_seed(count))
        expected = predict(features).detach()
        assert torch.isneginf(expected[:, 3]).all()
        torch.testing.assert_close(graph(features), expected, rtol=1e-6, atol=1e-7)


def test_what_is_needed_for_learning_alone_is_left_out() -> None:
    strategy, network = taught(strategies.RanPAC(projections=20))
    graph = record_prediction(lambda features: strategy.predict(network, features), D, "RanPAC")  # type: ignore[arg-type,return-value]
    assert sum(buffer.numel() for buffer in graph.buffers()) < D * 20 + 20 * C + C + 1  # and not 2 x 20 x 20 for G


def test_a_graph_by_hand() -> None:
    weight = torch.tensor([[1.0, 0.0], [0.0, 2.0]])

    def predict(features: Tensor) -> Tensor:
        total = torch.zeros(())
        for row in range(2 if weight.sum() > 2 else 1):  # looks at its own state, as it may
            total = total + weight[row, row]
        rows = features.new_zeros((len(features), 3))
        rows[:, :2] = features @ weight.T
        return rows.reshape(len(features) * 3).reshape(-1, 3) * total

    graph = record_prediction(predict, 2, "mine")
    assert graph(torch.tensor([[1.0, 1.0]])).tolist() == [[3.0, 6.0, 0.0]]
    assert graph(torch.tensor([[1.0, 1.0], [2.0, 0.0], [0.0, 0.0]])).tolist() == [[3, 6, 0], [6, 0, 0], [0, 0, 0]]


class Keeper:
    """Changes what it is made of when it predicts."""

    def __init__(self) -> None:
        self.state = torch.zeros(2)

    def __call__(self, features: Tensor) -> Tensor:
        self.state.add_(features.sum(dim=0))
        return features + self.state


@pytest.mark.parametrize(
    ("predict", "why"),
    [
        (lambda f: f if f.sum() > 100 else 2 * f, "reads its features in Python"),
        (lambda f: f[f[:, 0] > 0.5], "reads its features in Python"),
        (lambda f: torch.from_numpy(f.numpy() * 2), "not computed from its features by PyTorch operators"),
        (lambda f: f + torch.from_numpy(f.numpy()), "depend on the features or on their number"),
        (lambda f: f * f.tolist()[0][0], "depend on the features"),
        (lambda f: f.reshape(-1)[: len(f) + 3], "depend on the features"),
        (Keeper(), "changes its own state"),
    ],
)
def test_what_is_no_fixed_graph_is_refused(predict: Callable[[Tensor], Tensor], why: str) -> None:
    with pytest.raises(ConfigError, match=f"The prediction of mine cannot be exported: .*{why}"):
        record_prediction(predict, 2, "mine")
