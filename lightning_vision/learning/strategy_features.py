"""The features that a strategy's hooks are given: the network's, or those that it computes in its own way."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_vision.data.batch import Batch
from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy


def has_own_features(strategy: Strategy) -> bool:
    """Whether a strategy computes features in its own way, and not as the network does."""
    return type(strategy).features is not Strategy.features


def features_for(strategy: Strategy, network: Network, given: Batch | Tensor) -> Tensor:
    """What a strategy's ``predict`` and ``update`` are given for a batch or for normalised images (N, 3, H, W).

    Features, such as the cached ones of a batch, are returned unchanged: they were computed in the same way.
    """
    inputs = network.inputs(given)
    return inputs if inputs.dim() == 2 else strategy.features(network, inputs)


@torch.no_grad()
def feature_width(strategy: Strategy, network: Network, image_size: int) -> int:
    """D', the length of the features that a strategy is given; its own are measured on one black image.

    Args:
        strategy: The strategy.
        network: Its network.
        image_size: Side of the image in pixels.

    Raises:
        ConfigError: They are not one vector per image.
    """
    if not has_own_features(strategy):
        return network.facts.num_features
    training = [module for module in network.modules() if module.training]
    passed = network.backbone_images
    network.eval()
    try:
        image = torch.zeros(2, 3, image_size, image_size, device=network.mean.device)
        features = strategy.features(network, image)
    finally:
        network.backbone_images = passed
        for module in training:
            module.training = True
    if features.dim() != 2 or len(features) != len(image):
        raise ConfigError(
            f"{type(strategy).__name__}.features gives a tensor of shape {tuple(features.shape)} for {len(image)} images; "
            "expected one vector per image, (N, D')."
        )
    return int(features.shape[1])


def check_follows_backbone(strategy: Strategy, what: str) -> None:
    """Refuse what follows the network's own layers from an image to its logits, of a strategy that computes features differently.

    Args:
        strategy: The strategy that predicts.
        what: What follows them, for the message.

    Raises:
        ConfigError: The strategy has features of its own.
    """
    if has_own_features(strategy):
        raise ConfigError(
            f"{type(strategy).__name__} computes the features of an image in its own way, not by one pass through the backbone, "
            f"and {what} follows that pass. Use test or predict, which ask the strategy, or a strategy that does not "
            "override features."
        )
