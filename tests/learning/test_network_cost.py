"""The multiply-adds of a prediction, by hand."""

import pytest
import torch
from tiny_network import tiny_batch, tiny_experience, tiny_network
from tiny_transformer import SIDE, D, tiny_transformer
from torch import nn

from lightning_vision import Strategy
from lightning_vision.learning.network_cost import Passes, count_macs
from strategies import APER, L2P, DualPrompt, MoveToData, RanPAC
from strategies.prompting import Prompting

BODY = 12 * 5  # of the tiny network: one linear layer


def learned(strategy: Strategy) -> int | None:
    """Of a strategy on the tiny network, once it has learned four classes."""
    network, batch = tiny_network(), tiny_batch([0, 1, 2, 3])
    network.keep_original()
    strategy.before_experience(network, tiny_experience(1, batch))
    if strategy.kind == "closed_form":
        strategy.update(network, strategy.features(network, batch["image"]).detach(), batch["label"])
    strategy.after_experience(network, tiny_experience(1, batch), [batch])
    passed = network.backbone_images
    network.train()
    network.backbone.eval()
    found = count_macs(strategy, network, 2)
    assert network.backbone_images == passed and network.training and not network.backbone.training
    return found


def test_passes_projections_and_one_of_several_variants() -> None:
    assert learned(Strategy()) == BODY + 5 * 4
    assert learned(APER()) == 2 * BODY + 10 * 4
    assert learned(RanPAC(projections=16, ridge=1)) == BODY + 5 * 16 + 16 * 4
    assert learned(MoveToData([0.1, 0.2, 0.3])) == BODY + 5 * 4


def test_what_torch_does_not_count_is_unknown() -> None:
    class Nearest(Strategy):
        def predict(self, network, features):  # type: ignore[no-untyped-def]
            return -(features[:, None] - torch.ones(4, 12)).square().sum(dim=2)

    network = tiny_network()
    network.backbone = nn.Flatten()
    assert count_macs(Nearest(), network, 2) is None


def backbone(depth: int, tokens: int = 0, keys: tuple[int, ...] = ()) -> int:
    """Of the tiny transformer with further tokens, and further keys in each of the first blocks."""
    n = 1 + 4 + tokens
    attention = [2 * n * (n + (keys[block] if block < len(keys) else 0)) * D for block in range(depth)]
    return 4 * 3 * 16 * 16 * D + depth * (4 + 2 * 4) * n * D * D + sum(attention)


@pytest.mark.parametrize(
    ("strategy", "second", "keys"),
    [
        (L2P(pool=6, length=2, top_k=3), backbone(3, tokens=6), 6),
        (
            DualPrompt(general_length=2, general_blocks=1, expert_length=4, expert_blocks=2),
            backbone(3, keys=(2, 4, 4)),
            1,
        ),
    ],
    ids=["L2P", "DualPrompt"],
)
def test_prompts_take_two_passes(strategy: Prompting, second: int, keys: int) -> None:
    network = tiny_transformer(3)
    strategy.before_experience(network, tiny_experience(1, tiny_batch([0, 1, 2, 3])))
    strategy.double()
    plain = count_macs(Strategy(), network, SIDE)
    assert plain == backbone(3) + 4 * D
    assert count_macs(strategy, network, SIDE) == backbone(3) + second + D * keys + 4 * D


def test_a_pass_is_counted_once_unless_prompts_were_added() -> None:
    network, strategy = tiny_transformer(3), DualPrompt(general_length=2, expert_length=4, expert_blocks=1)
    passes: Passes = {}
    for index, batch in enumerate((tiny_batch([0, 1]), tiny_batch([2, 3]))):
        strategy.before_experience(network, tiny_experience(index, batch))
        for _ in range(2):
            strategy.double()
            assert count_macs(strategy, network, SIDE, passes) == count_macs(strategy, network, SIDE)
            assert count_macs(Strategy(), network, SIDE, passes) == backbone(3) + 4 * D
        assert len(passes) == index + 2
