"""SimpleCIL is the nearest class mean by angle."""

import torch
from coloured_squares import ColouredSquares
from feature_clouds import bare_network, clouds, learn, logits

from strategies.nearest_mean import NearestMean
from strategies.simple_cil import SimpleCIL


def test_the_nearest_mean_by_angle() -> None:
    features, labels = clouds()
    simple, nearest = SimpleCIL(), NearestMean("cosine")
    for strategy in (simple, nearest):
        learn(strategy, bare_network(), features, labels, ColouredSquares().stream[0])
    assert torch.equal(logits(simple, bare_network(), features), logits(nearest, bare_network(), features))
    other = NearestMean()
    other.load_state_dict(simple.state_dict())
    assert torch.equal(logits(other, bare_network(), features), logits(simple, bare_network(), features))


def test_three_images_by_hand() -> None:
    """Means (1, 0) and (0, 2): the length of a mean does not count."""
    strategy, network = SimpleCIL(temperature=0.5), bare_network(2, 2)
    v = torch.tensor([[0.0, 2.0], [2.0, 1.0], [0.0, -1.0]])
    learn(strategy, network, v, torch.tensor([1, 0, 0]), ColouredSquares().stream[0])
    found = logits(strategy, network, torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(found, torch.tensor([[1.2, 1.6]]))
