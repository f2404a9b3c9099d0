"""Training anew on everything."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy


class Retrain(Strategy):
    """Train anew, from the initial weights, on the data of all experiences so far: what incremental learning must beat.

    After experience t it is what ``Joint`` would be on the data of experiences 0 to t: L = mean CE(head(f(x)), y) over all
    of it, validated on the validation parts of all of them. It keeps all data and pays the full price each time, which
    the record shows. Also called cumulative training (arXiv 2004.07211 calls its last step the joint upper bound).

    Args:
        start: initial (the pretrained or random weights that the run's network was built with; a given base then serves
            experience 0 alone) or base (the weights after the base).
    """

    learns_all_seen = True
    weights: Tensor  # (P,) float32, the network's parameters and statistics at the start; empty before

    def __init__(self, start: Literal["initial", "base"] = "initial") -> None:
        super().__init__()
        self.start = start
        self.register_buffer("weights", torch.empty(0))

    def before_stream(self, network: Network) -> None:
        """Keep the initial weights, where they are the start."""
        if self.start == "initial":
            self._keep(network)

    def before_experience(self, network: Network, experience: Experience) -> None:
        """Keep the base's weights, where they are the start; go back to the start from then on."""
        if experience.is_base:
            return
        if self.start == "initial" and experience.index == 0 and network.seen.any():
            raise ConfigError(
                "Retrain goes back to the initial weights, and the base that this run starts from learned data that the stream "
                "does not hold: it would be forgotten. Give model.strategy.start: base, or a stream with the base's data."
            )
        if not self.weights.numel():
            self._keep(network)
        sizes = [value.numel() for value in _tensors(network)]
        for value, kept in zip(_tensors(network), torch.split(self.weights, sizes), strict=True):
            value.copy_(kept.view_as(value))

    def _keep(self, network: Network) -> None:
        self.weights = torch.cat([value.flatten().float() for value in _tensors(network)])


def _tensors(network: Network) -> list[Tensor]:
    """Parameters and running statistics, but for which classes were seen."""
    return [value.detach() for name, value in network.state_dict().items() if name != "seen"]
