"""Learning without Forgetting (arXiv 1606.09282)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.data.batch import Batch
from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from strategies.former_network import FormerNetwork


def distillation(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    r"""KL(q || p), the mean over the images, with p = softmax(logits / T) and q = softmax(teacher_logits / T).

    Args:
        logits: (N, K), of the classes that both know.
        teacher_logits: (N, K)
        temperature: T.
    """
    log_p = F.log_softmax(logits / temperature, dim=1)
    q = F.softmax(teacher_logits / temperature, dim=1)
    return F.kl_div(log_p, q, reduction="batchmean")


class LwF(FormerNetwork):
    r"""Distil the former network's predictions of old classes (Learning without Forgetting, LwF, arXiv 1606.09282).

    On each batch of the new data, with logits z (B, C) of the network, logits z' (B, C) of the network before the
    experience, and the set O of classes seen before it,

    .. math:: L = CE(z, y) + \alpha \frac{1}{B} \sum_b KL\left(softmax(z'_{bO} / T) \,\|\, softmax(z_{bO} / T)\right)

    with CE over the classes of the experience, if it brings new ones: the old rows change only by distillation, as in
    the paper, whose tasks have separate heads. CE is over all classes seen so far if no class is new, if there is only
    one class (the CE over one class is 0, so nothing would be learned), or with ``cross_entropy: seen``, as in
    Mammoth's code. The latter reduces the old classes much more strongly than alpha = 1 keeps them, and accuracy ends
    at that of fine-tuning (see docs/strategies.md for figures). The old network is frozen, in evaluation mode including
    batch norm, and sees the same augmented images. It is stored as one buffer (S,) of parameters and running statistics
    and run through the network's own modules, so it is not trained and is part of the checkpoint. It costs one more
    forward pass per batch, which the record's ``backbone_images`` includes.

    Differences from the paper:
        - One head for all classes; the paper has one head for each task, and knows the task of a test image.
        - KL instead of the cross entropy -q log p. They differ by the entropy of q, which is constant, so the gradients
          are equal, and KL is 0 if nothing changed. As in the paper, there is no factor T^2.
        - The paper first trains only the new head; here all parameters are trained from the start.
        - If no class was seen before (Joint), it is plain fine-tuning.

    Args:
        alpha: Weight of the distillation, the paper's lambda_o; 0 or more.
        temperature: T, above 0.
        cross_entropy: ``new``: over the classes of an experience that brings new ones and has two or more. ``seen``: over all
            seen so far.
    """

    EARLIER_DEFAULTS: ClassVar[Mapping[str, object]] = {"cross_entropy": "seen"}
    among: Tensor  # (C,) bool, the classes of CE; determined before each experience

    def __init__(
        self, alpha: float = 1.0, temperature: float = 2.0, cross_entropy: Literal["new", "seen"] = "new"
    ) -> None:
        super().__init__()
        if not (alpha >= 0 and temperature > 0):
            raise ConfigError(f"LwF: expected alpha >= 0 and temperature > 0, found {alpha} and {temperature}.")
        if cross_entropy not in ("new", "seen"):
            raise ConfigError(f"LwF: expected cross_entropy new or seen, found {cross_entropy!r}.")
        self.alpha, self.temperature, self.over_new = alpha, temperature, cross_entropy == "new"
        self.register_buffer("among", torch.empty(0, dtype=torch.bool), persistent=False)

    def derive(self) -> None:
        """Determine the classes of the cross entropy."""
        super().derive()
        alone = self.over_new and self.own.sum() > 1 and (self.own & ~self.earlier).any()
        self.among = self.own if alone else self.own | self.earlier

    def loss(self, network: Network, batch: Batch) -> Tensor:
        """CE + alpha KL to the old network over the old classes."""
        z = network(batch)
        loss = self.cross_entropy(network, z, batch, self.among)
        if not len(self.teacher):
            return loss
        return loss + self.alpha * distillation(
            z[:, self.known], self.teacher_logits(network, batch)[:, self.known], self.temperature
        )
