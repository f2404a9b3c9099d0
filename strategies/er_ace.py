"""Experience replay with an asymmetric cross entropy (arXiv 2104.05025)."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_vision.data.batch import Batch
from lightning_vision.learning.network import Network
from strategies.step_memory import StepMemory


class ERACE(StepMemory):
    r"""Experience replay with an asymmetric cross entropy (ER-ACE, arXiv 2104.05025).

    On a batch B of the new data and ``memory_batch_size`` images M of the memory, as it stands before the batch,

    .. math:: L = \frac{1}{|B|} \sum_{(x,y) \in B} CE_{Y_B}(h(x), y) + \frac{1}{|M|} \sum_{(x,y) \in M} CE(h(x), y)

    CE over the batch is among its own classes Y_B only, so that new images do not push the logits of old classes down; CE over
    the memory is among the classes seen so far. The memory is a reservoir, filled after each step. B and M are two forward
    passes.

    Differences from the authors' code and others:
        - The authors' code lets further classes take part in the first term: all whose number is not below the largest seen,
          which depends on how the classes are numbered. Here Y_B alone decides, as in the paper's equation.
        - Mammoth and the authors use a cosine classifier on CIFAR; here the head is the network's. Mammoth leaves out the memory's
          term in the first task.
        - A batch of one class teaches the head nothing, because CE among one class is 0; only the memory does then.

    Args:
        memory_size: Number of places, M.
        memory_batch_size: Number of memory images in each batch, on each process.
    """

    def __init__(self, memory_size: int = 500, memory_batch_size: int = 32) -> None:
        super().__init__(memory_size, memory_batch_size)  # it has classes of its own for each term

    def loss(self, network: Network, batch: Batch) -> Tensor:
        """CE of the batch among its own classes + CE of the memory."""
        self.remember(batch)
        own = torch.zeros_like(network.seen, dtype=torch.int64)
        own[batch["label"]] = 1
        loss = self.cross_entropy(network, network(batch), batch, self.reduce(own) > 0)
        memory = batch.get("memory")
        if memory is None:
            return loss
        return loss + self.cross_entropy(network, network(memory), memory)
