"""Parameters that a strategy registers: frozen unless they are trained, and saved in whatever shape they have."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from coloured_squares import ColouredSquares
from torch import Tensor, nn
from trial_strategies import Shifted

from lightning_vision import ContinualClassifier, Network, Strategy
from lightning_vision.data.scenarios import ClassIncremental


class Scaled(Strategy):
    """A base strategy with a factor of its own, which it trains with an option of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def parameters_to_train(self, network: Network) -> Iterable[dict[str, Any]]:
        return [{"params": [self.factor], "weight_decay": 0.5}, {"params": network.head.parameters()}]


@pytest.fixture
def model() -> ContinualClassifier:
    names = ColouredSquares().class_names
    options: dict[str, Any] = {"backbone": "test_resnet", "pretrained": False, "class_names": names, "image_size": 16}
    return ContinualClassifier(strategy=Shifted(), base_strategy=Scaled(), **options)


def trained(model: ContinualClassifier) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_each_stage_trains_what_its_learner_names_and_freezes_the_rest(model: ContinualClassifier) -> None:
    stream = ColouredSquares(stream=ClassIncremental(experiences=3, base_classes=2)).stream
    model.begin_experience(stream[0])
    model.begin_stage("")
    head = {"network.head.weight", "network.head.bias"}
    assert trained(model) == {"base_strategy.factor", *head}
    groups = model.configure_optimizers().param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(1, 0.5), (2, 0.01)]
    model.begin_experience(stream[1])
    flat = model.begin_stage("")
    assert trained(model) == {"strategy.shift", *(f"network.{name}" for name, _ in model.network.named_parameters())}
    assert any(parameter is model.strategy.shift for parameter in flat)


@pytest.mark.parametrize("before", [None, torch.ones(1, 5), torch.ones(3, 5)])
def test_a_checkpoint_gives_a_parameter_its_shape(before: Tensor | None) -> None:
    saved, loaded = Shifted(), Shifted()
    saved.shift = nn.Parameter(torch.arange(15.0).view(3, 5))
    if before is not None:
        loaded.shift = nn.Parameter(before)
    held = loaded.shift
    loaded.load_state_dict(saved.state_dict())
    assert torch.equal(loaded.shift, saved.shift) and isinstance(loaded.shift, nn.Parameter)
    assert before is None or loaded.shift is held, "an optimizer may hold it"


def test_a_buffer_is_found_under_its_former_name() -> None:
    class Renamed(Strategy):
        FORMER_BUFFERS = {"means": "centers"}  # noqa: RUF012 - as an author writes it

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("centers", torch.empty(0))

    strategy = Renamed()
    strategy.load_state_dict({"means": torch.ones(2, 3)})
    assert torch.equal(strategy.get_buffer("centers"), torch.ones(2, 3))
