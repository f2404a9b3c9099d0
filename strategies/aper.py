"""APER: nearest class means on the features of the original and of the adapted backbone (arXiv 2303.07338)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy
from strategies.nearest_mean import NearestMean


class APER(NearestMean):
    r"""The nearest class mean by angle on two backbones' features side by side (APER, formerly ADAM, arXiv 2303.07338).

    With the features \phi(x) (D,) of the pretrained backbone, \phi^*(x) (D,) of the same backbone adapted to experience 0, and the
    mean \mu_c (2 D,) over the images of class c:

    .. math:: v = [\phi(x);\, \phi^*(x)], \qquad \text{logit}_c = \cos(v, \mu_c) / \tau

    The adaptation is that of ``base_strategy``: :class:`strategies.FirstSession` in one of its modes. An image passes the backbone
    twice. Grafts are switched off for \phi; if the backbone itself is trained, a copy of it is kept in the checkpoint.

    Differences from the paper:
        - Experience 0 is learned with the network's linear head; the authors' is a cosine classifier with a learned scale. Both
          are dropped afterwards.
        - A class that is seen again keeps its statistics.

    Args:
        temperature: tau, above 0. It changes probabilities but not predictions.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__("cosine", temperature)

    def check_network(self, network: Network) -> None:
        """Refuse a head with a hidden layer, which takes D features."""
        if any(isinstance(layer, nn.Linear) for layer in list(network.head.children())[:-1]):
            raise ConfigError(
                f"APER classifies the features of two backbones, and the hidden layer of the head takes those of one. Set "
                f"model.head_hidden: 0; found {network.classifier.in_features}."
            )

    def before_experience(self, network: Network, experience: Experience) -> None:
        """Remember the backbone before it is trained, if no grafts are set into it.

        Raises:
            ConfigError: It was trained before the run, and the base has lost what it was before.
        """
        if not network.grafts and not network.keep_original():
            raise ConfigError(
                "APER needs the backbone as it was before it was trained, and the base checkpoint does not hold it. Train the base in "
                "the run (no model.base_checkpoint), or with FirstSession, which keeps it."
            )

    def features(self, network: Network, image: Tensor) -> Tensor:
        """[phi(x); phi*(x)] (N, 2 D)."""
        return torch.cat([network.original_features(image), network.features(image)], dim=1)

    def predict(self, network: Network, features: Tensor) -> Tensor | Mapping[str, Tensor]:
        """Logits (N, C) by the class means; before the first update the network's own, for phi*(x)."""
        if not self.counts.any():
            return Strategy.predict(self, network, features.chunk(2, dim=1)[1])
        return super().predict(network, features)
