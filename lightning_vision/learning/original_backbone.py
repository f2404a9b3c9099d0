"""A backbone as it was before it was adapted."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Self

from torch import Tensor, nn

from lightning_vision.learning.graft_places import take_out


class OriginalBackbone(nn.Module):
    """A copy of a backbone that never changes: its weights are buffers, and it stays in evaluation mode.

    Args:
        backbone: What is copied.
        grafts: The keys of its grafts, which the copy does not have.
    """

    def __init__(self, backbone: nn.Module, grafts: Iterable[str]) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone)
        for key in grafts:
            take_out(self.backbone, key)
        for module in self.backbone.modules():
            for name, parameter in list(module._parameters.items()):
                if parameter is not None:  # as a buffer it is not among the network's parameters, which are trained
                    delattr(module, name)
                    module.register_buffer(name, parameter.detach())
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Features (N, D) of images (N, 3, H, W)."""
        features: Tensor = self.backbone(image)
        return features

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)
