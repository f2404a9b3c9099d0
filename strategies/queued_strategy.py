"""Closed forms with large matrices process features in large batches."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from lightning_vision.data.batch import Batch
from lightning_vision.data.stream import Experience
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy

QUEUE = 2048


class QueuedStrategy(Strategy, ABC):
    """A closed form that queues features until there are enough of them, or the experience ends.

    Adding the products of 32 features to a matrix of 2,000 x 2,000 takes nearly as long as adding those of 2,000,
    because the matrix is read and written once. Queued features are part of the checkpoint and included in predictions.

    A subclass overrides ``absorb``, ``settle`` and ``scores`` instead of ``update``, ``after_experience`` and
    ``predict``.
    """

    kind = "closed_form"
    freezes_backbone = True
    needs_base_data = True
    waiting: Tensor  # (P, D) float32, penultimate features that are not absorbed yet, in the stream's order
    waiting_labels: Tensor  # (P,) int64

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("waiting", torch.empty(0))
        self.register_buffer("waiting_labels", torch.empty(0, dtype=torch.int64))

    @abstractmethod
    def absorb(self, v: Tensor, labels: Tensor, classes: int) -> None:
        """Add features v (N, D) float64 and labels (N,) to the statistics of C classes; in the stream's order."""

    def settle(self) -> None:
        """Keep what prediction needs and can be found but once, all features being absorbed."""

    @abstractmethod
    def scores(self, v: Tensor) -> Tensor | None:
        """Logits (N, C) float64 of features v (N, D) float64, all others being absorbed; None before the first."""

    def update(self, network: Network, features: Tensor, labels: Tensor) -> None:
        """Queue a batch, and absorb the queue if it is long enough."""
        v = network.penultimate(features)
        some = len(self.waiting_labels) > 0
        self.waiting = torch.cat([self.waiting, v]) if some else v.clone()
        self.waiting_labels = torch.cat([self.waiting_labels, labels]) if some else labels.clone()
        if len(self.waiting_labels) >= QUEUE:
            self.absorb_waiting(network)

    def absorb_waiting(self, network: Network) -> None:
        """Empty the queue."""
        if len(self.waiting_labels):
            self.absorb(self.waiting.double(), self.waiting_labels, network.num_classes)
            self.waiting, self.waiting_labels = self.waiting.new_empty(0), self.waiting_labels.new_empty(0)

    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        """Empty the queue, and solve once for what all predictions need."""
        self.absorb_waiting(network)
        self.settle()

    def predict(self, network: Network, features: Tensor) -> Tensor | Mapping[str, Tensor]:
        """Logits (N, C) of all images so far; the network's own before the first."""
        if len(self.waiting_labels):  # in the midst of an experience: prediction leaves the state as it is
            settled = copy.deepcopy(self)
            settled.absorb_waiting(network)
            return settled.predict(network, features)
        found = self.scores(network.penultimate(features).double())
        return super().predict(network, features) if found is None else found.to(features.dtype)
