"""iCaRL (arXiv 1611.07725)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.data.batch import Batch
from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from strategies.exemplars import Exemplars


class ICaRL(Exemplars):
    r"""Nearest mean of exemplars over features that are trained with distillation (iCaRL, arXiv 1611.07725).

    The network is trained on the new images and the exemplars together, one sigmoid per class:

    .. math:: L = \frac{1}{|B| C} \sum_{(x,y) \in B} \sum_{c} BCE(\sigma(h_c(x)), t_c(x))

    over the classes c seen so far, C outputs in all. The target t_c is the former network's sigmoid for a class that was seen
    before and has no images in the experience, and 1 or 0 by the label for the others. An image is then given the class whose
    exemplars' mean feature is nearest to its own, all of length 1. Exemplars are chosen by herding, floor(M / C) of each class seen.

    Differences from the paper and its code:
        - Outputs of classes not seen yet do not take part; the authors' code trains them towards 0.
        - Means are of the exemplars as they are; the authors' code averages them with their mirror images.
        - In an experience that brings new images of an old class, its target is the label.
        - With ``data.class_weights`` the sum of an image counts by its class. ``model.label_smoothing`` has no meaning for sigmoids
          and is not used.
        - While an experience is trained, validation uses the sigmoids, because the new classes have no exemplars yet.

    Args:
        memory_size: M, the most exemplars.
    """

    learns_base = True
    means: Tensor  # (C, D) float32, of the exemplars; empty while an experience is trained
    past: Tensor  # (C,) bool, the classes whose targets are those of the former network

    def __init__(self, memory_size: int = 2000) -> None:
        super().__init__(memory_size)
        self.register_buffer("means", torch.empty(0))
        self.register_buffer("past", torch.empty(0, dtype=torch.bool), persistent=False)

    def before_experience(self, network: Network, experience: Experience) -> None:
        """Store the network; no means while it is trained.

        Raises:
            ConfigError: A base was given with classes of which there are no images, and so no exemplars.
        """
        super().before_experience(network, experience)
        if experience.index == 0 and (absent := int((network.seen & ~self.own).sum())):
            raise ConfigError(
                f"ICaRL predicts by the means of remembered images, and has no image of {absent} of the classes of the base, which it "
                "could not predict any more. Give images of these classes, or choose a strategy that predicts with the head, such as WA."
            )
        self.means = self.means[:0]

    def derive(self) -> None:
        """Determine the classes whose targets are those of the former network."""
        super().derive()
        self.past = self.earlier & ~self.own if len(self.teacher) else torch.zeros_like(self.own)
        self.recalls = bool(self.past.any())

    def loss(self, network: Network, batch: Batch) -> Tensor:
        """Binary cross entropies with the labels and the former network's sigmoids."""
        z = network(batch)
        target = batch.get("target")
        target = F.one_hot(batch["label"], network.num_classes).to(z) if target is None else target.to(z)
        weights = z.new_ones(len(z)) if network.class_weights is None else target @ network.class_weights.to(z)
        if self.recalls:
            target = torch.where(self.past, self.teacher_logits(network, batch).to(z).sigmoid(), target)
        losses = F.binary_cross_entropy_with_logits(z, target, reduction="none")
        return (weights * losses.masked_fill(~network.seen, 0.0).sum(dim=1)).mean() / network.num_classes

    @torch.no_grad()
    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        """Choose the exemplars and compute the means of all classes with the network as it is now."""
        super().after_experience(network, experience, batches)
        means = torch.zeros(network.num_classes, network.facts.num_features, device=self.index.device)
        if len(self.index):
            order = self.index.argsort()
            features = self.features_of(network, batches, self.index)  # type: ignore[arg-type] # checked by Exemplars
            means.index_add_(0, self.label[order], features)
        self.means = F.normalize(means, dim=1)

    def predict(self, network: Network, features: Tensor) -> Tensor:
        """Minus the squared distance to each class's mean; the head's logits while an experience is trained."""
        if not len(self.means):
            logits: Tensor = network.head(features)
            return logits
        return 2 * F.normalize(features, dim=1) @ self.means.to(features).T - 2
