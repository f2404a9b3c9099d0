"""Averaged gradient episodic memory (arXiv 1812.00420)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from lightning_vision.data.batch import Batch
from lightning_vision.learning.network import Network
from strategies.replay import Replay


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """All entries (P,) of tensors in any memory format."""
    return torch.cat([tensor.flatten() for tensor in tensors])


def project(g: Tensor, g_ref: Tensor) -> Tensor:
    r"""The gradient that is nearest to g and does not increase the loss whose gradient is g_ref.

    .. math:: \tilde g = g - \min\left(0, \frac{g^\top g_{ref}}{g_{ref}^\top g_{ref}}\right) g_{ref}

    Args:
        g: (P,)
        g_ref: (P,)

    Returns:
        (P,): g itself if the two agree, :math:`g^\top g_{ref} \ge 0`.
    """
    agreement = g @ g_ref
    return g if agreement >= 0 else g - agreement / (g_ref @ g_ref) * g_ref


class AGEM(Replay):
    r"""Project the gradient so that the loss on a memory does not increase (A-GEM, arXiv 1812.00420).

    With the gradient g (P,) of the loss on a batch of the new data, and g_ref (P,) that of the loss on
    ``memory_batch_size`` images drawn from the memory, over the P parameters that are trained:

    .. math:: \tilde g = g - \frac{g^\top g_{ref}}{g_{ref}^\top g_{ref}}\, g_{ref}
        \quad\text{if } g^\top g_{ref} < 0, \quad\text{else } g

    Both losses are CE over the seen classes (:func:`project`). g is the gradient over the batches of all processes, and
    g_ref the sum over theirs, which are of the same images; its length has no effect. It is computed in the precision of
    the weights. The memory is that of :class:`strategies.Replay`; while it is empty, g is used.

    Differences from the paper:
        - CE is over all classes seen; the paper has a head for each task.
        - The memory is filled at the end of an experience, with ``memory_size`` samples in all. The paper fills it
          during the single epoch of a task. Mammoth's code stores a single mini-batch of each task, the first of its
          loader, whatever the size of the buffer; its published figures are for such a memory.
        - With accumulated gradients g_ref is of the last batch's memory images.

    Args:
        memory_size: Number of samples in the memory.
        per_class: Maximum number of samples per class, instead of ``memory_size`` and ``selection``.
        selection: ``reservoir`` or ``class_balanced``.
        memory_batch_size: Number of memory images for g_ref.
    """

    def __init__(
        self,
        memory_size: int = 500,
        per_class: int | None = None,
        selection: Literal["reservoir", "class_balanced"] = "reservoir",
        memory_batch_size: int = 32,
    ) -> None:
        super().__init__(memory_size, per_class, selection, memory_batch_size)
        self.reference: Batch | None = None  # memory images of the batch whose gradient is being computed

    def loss(self, network: Network, batch: Batch) -> Tensor:
        """CE over the batch; the memory's images wait for its gradient."""
        self.reference = batch.get("memory")
        return self.cross_entropy(network, network(batch), batch)

    def after_backward(self, network: Network) -> None:
        """Replace g by its projection."""
        memory, self.reference = self.reference, None
        if memory is None:
            return
        theta = [p for p in network.parameters() if p.grad is not None]
        with torch.enable_grad():
            loss = self.cross_entropy(network, network(memory), memory)
        g_ref = self.reduce(flat(torch.autograd.grad(loss, theta, materialize_grads=True)))
        gradients = [p.grad for p in theta if p.grad is not None]
        g = flat(gradients)
        projected = project(g, g_ref)
        if projected is g:
            return
        start = 0
        for gradient in gradients:
            end = start + gradient.numel()
            gradient.copy_(projected[start:end].view(gradient.shape))
            start = end
