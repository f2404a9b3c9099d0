"""Full fine-tuning."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy


class FullFineTune(Strategy):
    """Train the whole network on the new data: L = mean CE(head(f(x)), y) over the seen classes.

    The plain baseline, called "naive" or "fine-tuning" in surveys (arXiv 1909.08383). It learns new data best and has
    no protection against forgetting.

    Args:
        backbone_lr: Learning rate of the backbone; the head uses the optimizer's rate. None: one rate for both.
    """

    def __init__(self, backbone_lr: float | None = None) -> None:
        super().__init__()
        self.backbone_lr = backbone_lr

    def parameters_to_train(self, network: Network) -> Iterable[nn.Parameter] | Iterable[dict[str, Any]]:
        """All parameters, in two groups if the backbone has a learning rate of its own."""
        if self.backbone_lr is None:
            return network.parameters()
        backbone: dict[str, Any] = {"params": network.backbone.parameters(), "lr": self.backbone_lr}
        return [backbone, {"params": network.head.parameters()}]
