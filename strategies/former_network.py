"""The network as it was before an experience, for strategies that distil it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from lightning_vision.data.batch import Batch
from lightning_vision.data.stream import Experience
from lightning_vision.learning.network import Network, evaluation_mode
from lightning_vision.learning.strategy import Strategy


def frozen_state(network: Network) -> dict[str, Tensor]:
    """Parameters and running statistics of a network, by name, without a copy of the original backbone, which never changes."""
    return {
        name: value.detach()
        for name, value in network.state_dict().items()
        if value.is_floating_point() and not name.startswith("original.")
    }


class FormerNetwork(Strategy):
    """Keeps the network as it was before the experience, as one buffer of parameters and running statistics.

    It is run through the network's own modules, in evaluation mode, so it is not trained and is part of the checkpoint.
    """

    teacher: Tensor  # (S,), the old network; empty where nothing was seen before
    old: Tensor  # (C,) bool, the classes seen before
    known: Tensor  # (K,) int64, the same as numbers: a mask as an index would wait for the device at each step
    own: Tensor  # (C,) bool, the classes of the experience
    earlier: Tensor  # (C,) bool, those of the experiences before it

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("teacher", torch.empty(0))
        self.register_buffer("old", torch.empty(0, dtype=torch.bool))
        self.register_buffer("known", torch.empty(0, dtype=torch.int64), persistent=False)
        for name in ("own", "earlier"):
            self.register_buffer(name, torch.empty(0, dtype=torch.bool), persistent=False)

    def before_experience(self, network: Network, experience: Experience) -> None:
        """Store the network and its classes."""
        if not experience.is_base and network.seen.any():
            self.old = network.seen.clone()
            self.teacher = torch.cat([value.flatten() for value in frozen_state(network).values()])
        self.own, self.earlier = torch.zeros_like(network.seen), network.seen.clone()
        self.own[list(experience.classes)] = True
        self.derive()

    def derive(self) -> None:
        """Compute what follows from the classes before the experience and those of it."""
        self.known = self.old.nonzero().flatten()

    def _load_from_state_dict(self, *args: Any) -> None:
        """Load, and derive anew: a plain Trainer prepares a network that has seen nothing before it loads the checkpoint."""
        super()._load_from_state_dict(*args)
        if len(self.old) == len(self.earlier):
            self.earlier = self.earlier | self.old
        self.derive()

    @torch.no_grad()
    def teacher_logits(self, network: Network, given: Batch | Tensor) -> Tensor:
        """Logits (B, C) of the old network for a batch, or for images (B, 3, H, W)."""
        now = frozen_state(network)
        parts = torch.split(self.teacher, [value.numel() for value in now.values()])
        then = {name: part.view_as(value) for (name, value), part in zip(now.items(), parts, strict=True)}
        with evaluation_mode(network):
            logits: Tensor = functional_call(network, then, (given,))
        return logits
