"""The cost of one image in the network."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from lightning_vision.learning.classifier import ContinualClassifier


def count_macs(model: ContinualClassifier) -> int | None:
    """Multiply-adds of the network for one image; None if torch cannot count them."""
    network = model.network
    mode = network.training
    network.eval()
    image = torch.zeros(1, 3, model.image_size, model.image_size, device=network.seen.device, dtype=network.mean.dtype)
    try:
        with torch.no_grad(), torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:
            network.head(network.backbone(image))
    finally:
        network.train(mode)
    flops = counter.get_total_flops()
    return flops // 2 if flops else None
