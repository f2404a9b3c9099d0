"""What the strategies share that choose the images of their memory after or before each experience."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy


def check_one_per_class(strategy: Strategy, memory_size: int, network: Network) -> None:
    """Refuse a memory that cannot hold one image of each class.

    Raises:
        ConfigError: It is too small.
    """
    if memory_size < network.num_classes:
        raise ConfigError(
            f"{type(strategy).__name__}: a memory of {memory_size} images is smaller than the number of classes, "
            f"{network.num_classes}. Expected memory_size >= {network.num_classes}."
        )


class RememberedRows(Strategy):
    """A memory of rows of the sample table and their classes, from which ``rows_to_learn`` takes what is learned again.

    Args:
        memory_size: The most images in the memory.
    """

    without_base = "none of its images is remembered"
    index: Tensor  # (M,) int64, the rows of the sample table that are kept
    label: Tensor  # (M,) int64, their classes

    def __init__(self, memory_size: int) -> None:
        super().__init__()
        if memory_size < 1:
            raise ConfigError(f"{type(self).__name__}: expected memory_size >= 1, found {memory_size}.")
        self.memory_size = memory_size
        for name in ("index", "label"):
            self.register_buffer(name, torch.empty(0, dtype=torch.int64))

    def check_network(self, network: Network) -> None:
        """Refuse a memory that is smaller than the number of classes."""
        super().check_network(network)
        check_one_per_class(self, self.memory_size, network)

    def before_experience(self, network: Network, experience: Experience) -> None:
        """Drop the memory of a base checkpoint from another run."""
        super().before_experience(network, experience)
        if experience.index == 0:  # before experience 0 a run has no memory, and another's names rows of another table
            self.index, self.label = self.index[:0], self.label[:0]

    def memory(self) -> Tensor | None:
        """The rows in the memory."""
        return self.index if len(self.index) else None
