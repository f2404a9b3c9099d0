"""Experience replay from a memory that is filled batch by batch (arXiv 1902.10486)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from lightning_vision.data.batch import Batch
from lightning_vision.learning.network import Network
from strategies.step_memory import StepMemory


class ER(StepMemory):
    r"""Experience replay as published: the memory is a reservoir of the stream, filled after each step (arXiv 1902.10486).

    On a batch B of the new data and ``memory_batch_size`` images M of the memory, as it stands before the batch,

    .. math:: L = \frac{1}{|B| + |M|} \left( \sum_{(x,y) \in B} CE(h(x), y) + \sum_{(x,y) \in M} CE(h(x), y) \right)

    h(x) (C,) are the network's logits, CE is over all C classes of the stream, and B and M are one forward pass, so batch norm uses
    them as one batch. The memory holds rows of the sample table, eight bytes each. :class:`strategies.Replay` is the same
    loss with a memory that is filled after each experience.

    Differences from the paper:
        - The images of the memory are read again and augmented anew; the paper does not augment.

    Args:
        memory_size: Number of places, M.
        memory_batch_size: Number of memory images in each batch, on each process.
        cross_entropy: ``all``: over all classes of the stream from the start, as in the public codes. ``seen``: over those seen so
            far.
    """

    EARLIER_DEFAULTS: ClassVar[Mapping[str, object]] = {"cross_entropy": "seen"}

    def loss(self, network: Network, batch: Batch) -> Tensor:
        """The mean CE over the batch and the images of the memory."""
        self.remember(batch)
        memory = batch.get("memory")
        if memory is None:
            return self.cross_entropy(network, network(batch), batch, self.among(network))
        sizes = [len(batch["label"]), len(memory["label"])]
        new, old = network(torch.cat([network.inputs(batch), network.inputs(memory)])).split(sizes)
        count, drawn = self.reduce(batch["valid"].sum()), sizes[1]  # over all processes; each drew the same images
        among = self.among(network)
        total = count * self.cross_entropy(network, new, batch, among)
        return (total + drawn * self.cross_entropy(network, old, memory, among)) / (count + drawn)
