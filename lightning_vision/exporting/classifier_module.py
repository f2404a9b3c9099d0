"""The trained classifier as a plain module: from uint8 images to logits and features."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.exporting.prediction_graph import record_prediction
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.grafts import fold_all

UNSEEN = -1e9
"""The logit of a class that was never seen: finite, with probability 0."""
OUTPUTS = ("logits", "features", "head_weight", "head_bias")
"""The outputs in order; a prediction without a linear head has the first two."""


class ClassifierModule(nn.Module):
    """Normalisation, backbone and the prediction of the learning strategy, on the CPU, in evaluation mode.

    It shares nothing with the original model.

    Args:
        model: The classifier, its weights loaded.

    Attributes:
        linear_head: The prediction is the network's last linear layer, whose weight and bias are outputs too.
        num_features: D, the input size of the last linear layer.

    Raises:
        ConfigError: The strategy's prediction cannot be exported as a graph.
    """

    scale: Tensor
    shift: Tensor
    unseen: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, model: ContinualClassifier) -> None:
        super().__init__()
        network = model.network
        self.backbone = copy.deepcopy(network.backbone).to(memory_format=torch.contiguous_format)
        fold_all(self.backbone, network.grafts)
        hidden = network.head[:-1] if isinstance(network.head, nn.Sequential) else nn.Identity()
        self.hidden = copy.deepcopy(hidden)
        self.register_buffer("scale", 1 / (255 * network.std))
        self.register_buffer("shift", network.mean / network.std)
        self.register_buffer("unseen", ~network.seen)
        self.num_features = network.classifier.in_features
        self.linear_head = _predicts_by_head(model)
        if self.linear_head:
            self.register_buffer("weight", network.classifier.weight.detach().clone())
            self.register_buffer("bias", network.classifier.bias.detach().clone())
        else:
            name, d = type(model.learner).__name__, network.facts.num_features
            self.prediction = record_prediction(lambda features: _predicted(model, features), d, name)
        self.cpu().eval().requires_grad_(False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """The outputs for uint8 RGB images (N, 3, S, S).

        Returns:
            ``logits`` (N, C) float32, -1e9 for a class that was not seen; ``features`` (N, D) float32; and of a linear head
            ``head_weight`` (C, D) and ``head_bias`` (C,).
        """
        v = self.backbone(image.to(self.scale.dtype) * self.scale - self.shift)
        features = self.hidden(v)
        if not self.linear_head:
            logits = self.prediction(v).clamp(min=UNSEEN).masked_fill(self.unseen, UNSEEN)
            return {"logits": logits, "features": features}
        logits = F.linear(features, self.weight, self.bias).masked_fill(self.unseen, UNSEEN)
        return {"logits": logits, "features": features, "head_weight": self.weight, "head_bias": self.bias}


def _predicted(model: ContinualClassifier, features: Tensor) -> Tensor:
    """The strategy's logits (N, C) of the picked variant, unmasked, as ``ContinualClassifier.forward`` takes them."""
    logits = model.learner.predict(model.network, features)
    if isinstance(logits, Mapping):
        return logits[model.picked_variant] if model.picked_variant else next(iter(logits.values()))
    return logits


@torch.no_grad()
def _predicts_by_head(model: ContinualClassifier) -> bool:
    """Whether the strategy predicts like the network's head, tested on random features."""
    network = model.network
    features = torch.rand(8, network.facts.num_features, generator=torch.Generator().manual_seed(0))
    features = features.to(network.classifier.weight)
    mine, its = _predicted(model, features)[:, network.seen], network.head(features)[:, network.seen]
    return torch.allclose(mine, its, rtol=1e-6, atol=1e-6)
