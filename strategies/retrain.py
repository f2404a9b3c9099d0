"""Retraining on all data."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy


class Retrain(Strategy):
    """Retrain from the initial weights on the data of all experiences so far; the reference for incremental learning.

    After experience t the result is that of ``Joint`` on the data of experiences 0 to t: L = mean CE(head(f(x)), y)
    over all data, validated on all validation parts. It stores all data and has the full cost each time, which the
    record shows. Also called cumulative training (arXiv 2004.07211 calls its last step the joint upper bound).

    Args:
        start: initial (the pretrained or random weights of the run's network; a given base is then used only for
            experience 0) or base (the weights after the base).
    """

    learns_all_seen = True
    may_start_from_base = True
    """It has the option ``start``, which helps where a base cannot be replaced by the initial weights."""
    weights: Tensor  # (P,) float32, the network's parameters and statistics at the start; empty before

    def __init__(self, start: Literal["initial", "base"] = "initial") -> None:
        super().__init__()
        self.start = start
        self.register_buffer("weights", torch.empty(0))

    def check_network(self, network: Network) -> None:
        """Refuse a base that the initial weights cannot stand for, if it is to start from them.

        Raises:
            ConfigError: The backbone has grafts, or will get some from the base; or the base learned data that is not in the stream.
        """
        if self.start == "initial" and (network.grafts or network.announced_grafts):
            or_else = ", or set model.strategy.start: base" if self.may_start_from_base else ""
            raise ConfigError(
                f"{type(self).__name__} restarts from the initial weights, and the base sets grafts into the backbone, which the initial "
                f"weights do not have. Use a base without grafts, such as FirstSession with mode fine_tune{or_else}."
            )
        if network.base_is_alone:
            self._refuse_base_alone()

    def before_stream(self, network: Network) -> None:
        """Keep the initial weights, where they are the start."""
        if self.start == "initial":
            self._keep(network)

    def before_experience(self, network: Network, experience: Experience) -> None:
        """Keep the base's weights, where they are the start; go back to the start from then on."""
        self.check_network(network)  # a base strategy may set grafts that it has not announced
        # A run that starts from one of this strategy has a base of its own.
        if experience.index == 0 and self.start == "base":
            self.weights = self.weights[:0]
        if experience.is_base:
            return
        if experience.index == 0 and network.seen.any():
            self._refuse_base_alone()  # also outside a run, which checks it before anything is written
        if not self.weights.numel():
            self._keep(network)
        sizes = [value.numel() for value in _tensors(network)]
        for value, kept in zip(_tensors(network), torch.split(self.weights, sizes), strict=True):
            value.copy_(kept.view_as(value))

    def _refuse_base_alone(self) -> None:
        if self.start == "initial":
            either = "model.strategy.start=base, or " if self.may_start_from_base else ""
            raise ConfigError(
                f"{type(self).__name__} restarts from the initial weights, but the base of this run learned data that is not in the "
                f"stream and would be forgotten. Use {either}a stream with the data of the base."
            )

    def _keep(self, network: Network) -> None:
        self.weights = torch.cat([value.flatten().float() for value in _tensors(network)])


def _tensors(network: Network) -> list[Tensor]:
    """Parameters and running statistics, without the mask of seen classes and a copy of the original backbone, which never changes."""
    state = network.state_dict()
    return [value.detach() for name, value in state.items() if name != "seen" and not name.startswith("original.")]
