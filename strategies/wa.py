"""Weight aligning (arXiv 1911.07053)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from lightning_vision.data.batch import Batch
from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from strategies.exemplars import Exemplars
from strategies.lwf import distillation


def aligned(weight: Tensor, old: Tensor, new: Tensor) -> Tensor:
    """Weights (C, D) whose new rows have the mean length of the old ones (arXiv 1911.07053, equations 8 and 9).

    Args:
        weight: (C, D), not changed.
        old: (C,) bool, the rows of old classes.
        new: (C,) bool, the rows of new classes.
    """
    lengths = weight.norm(dim=1)
    factor = lengths[old].mean() / lengths[new].mean().clamp(min=torch.finfo(weight.dtype).tiny)
    return torch.where(new.unsqueeze(1), weight * factor, weight)


class WA(Exemplars):
    r"""Distillation with exemplars, and new rows of the head scaled to the old ones' length (WA, arXiv 1911.07053).

    On batches of the new images and the exemplars together, with logits z of the network and z' of the former one, and the set
    O of classes seen before the experience,

    .. math:: L = (1 - \lambda) CE(z, y) + \lambda KL(softmax(z'_O / T) \| softmax(z_O / T)), \quad
        \lambda = |O \setminus Y| / |S|

    with S the classes seen so far and Y those of the experience. After each step the head's weights are kept at 0 or above
    (``positive``). After each experience the rows of the new classes, Y without O, are scaled by mean(length of old rows) /
    mean(length of new rows). Exemplars are chosen by herding, floor(M / C) of each class seen.

    Differences from the paper and public codes:
        - KL instead of -q log p; their gradients are equal.
        - lambda is |O| / |S| there, where no class returns. Here classes that return with new images are not counted: with
          all of them lambda would be 1, and nothing would be learned.
        - PyCIL scales the rows twice in each experience and does not keep weights positive.

    Args:
        memory_size: M, the most exemplars.
        temperature: T, above 0.
        positive: Keep the head's weights at 0 or above, in experiences after the base.
    """

    def __init__(self, memory_size: int = 2000, temperature: float = 2.0, positive: bool = True) -> None:
        super().__init__(memory_size)
        if not temperature > 0:
            raise ConfigError(f"WA: expected temperature > 0, found {temperature}.")
        self.temperature, self.positive = temperature, positive

    def derive(self) -> None:
        """Determine lambda, the share that old classes without new images have of all so far."""
        super().derive()
        # One of both is empty in the first experience, and where a checkpoint is loaded before an experience begins.
        rest = self.old & ~self.own if len(self.old) == len(self.own) else self.old
        self.share = float(rest.sum() / (self.own | self.earlier).sum())

    def loss(self, network: Network, batch: Batch) -> Tensor:
        """(1 - lambda) CE + lambda KL to the former network over the old classes."""
        z = network(batch)
        loss = self.cross_entropy(network, z, batch)
        if not len(self.teacher):
            return loss
        then = self.teacher_logits(network, batch)[:, self.known]
        return (1 - self.share) * loss + self.share * distillation(z[:, self.known], then, self.temperature)

    @torch.no_grad()
    def after_step(self, network: Network) -> None:
        """Keep the head's weights positive."""
        if self.positive:
            network.classifier.weight.clamp_(min=0)

    @torch.no_grad()
    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        """Scale the rows of the new classes, then choose the exemplars."""
        # Not the stream's new classes: a base of other data may know some of them.
        if len(self.teacher) and (new := self.own & ~self.old).any():
            network.classifier.weight.copy_(aligned(network.classifier.weight, self.old, new))
        super().after_experience(network, experience, batches)
