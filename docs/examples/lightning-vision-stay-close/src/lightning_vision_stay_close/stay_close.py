"""Fine-tuning near the former weights (arXiv 1802.01483)."""

import torch
from torch import Tensor

from lightning_vision import Batch, Experience, Network, Strategy


class StayClose(Strategy):
    """Fine-tune near the former weights, L = CE + alpha/2 |w - w0|^2 over the backbone's P (L2-SP, arXiv 1802.01483).

    Args:
        alpha: Weight of the penalty.
    """

    w0: Tensor  # (P,)

    def __init__(self, alpha: float = 0.01) -> None:
        super().__init__()
        self.alpha = alpha
        self.register_buffer("w0", torch.empty(0))

    def before_experience(self, network: Network, experience: Experience) -> None:
        """Take the weights as they are for the center."""
        self.w0 = torch.cat([p.detach().flatten() for p in network.backbone.parameters()])

    def loss(self, network: Network, batch: Batch) -> Tensor:
        """CE + alpha/2 |w - w0|^2."""
        w = torch.cat([p.flatten() for p in network.backbone.parameters()])
        return super().loss(network, batch) + self.alpha / 2 * (w - self.w0).square().sum()
