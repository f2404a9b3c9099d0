"""Slow learner with classifier alignment (arXiv 2303.05118)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812 - torch's own custom
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from lightning_vision.data.batch import Batch
from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy

SAMPLES = 256
"""Features drawn of each class in an epoch of the alignment, and the size of its batches: as in the paper's code."""


def alignment_loss(logits: Tensor, labels: Tensor, arrival: Tensor, tau: float) -> Tensor:
    r"""Cross entropy of normalised logits, -log softmax(l / (tau ||l||))_y: their direction counts, not their length.

    ||l|| is the mean, over the experiences that brought classes, of the length of the logits of those classes.

    Args:
        logits: l (N, K)
        labels: y (N,) in [0, K).
        arrival: (K,) the experience that brought each class.
        tau: Temperature.
    """
    lengths = [logits[:, arrival == t].norm(dim=1, keepdim=True) for t in torch.unique(arrival)]
    return F.cross_entropy(logits / (tau * (torch.stack(lengths).mean(dim=0) + 1e-7)), labels)


def pool(
    count: int, mean: Tensor, covariance: Tensor, more: int, more_mean: Tensor, scatter: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Mean (D,) and covariance (D, D) of two sets of features together.

    Args:
        count: Features of the first set; 0 or more.
        mean: (D,) theirs.
        covariance: (D, D) theirs, divided by count - 1.
        more: Features of the second set, 1 or more.
        more_mean: (D,) theirs.
        scatter: (D, D) theirs, \sum_n (v_n - more_mean)(v_n - more_mean)^T, divided by nothing.
    """
    total, gap = count + more, more_mean - mean
    between = torch.outer(gap, gap) * (count * more / total)
    return mean + gap * (more / total), (covariance * max(count - 1, 0) + scatter + between) / max(total - 1, 1)


def square_root(covariance: Tensor, ridge: float | None = None) -> Tensor:
    """Lower triangular R (D, D) with R R^T = Sigma + r I. With fewer samples than dimensions Sigma alone would be singular.

    Args:
        covariance: Sigma (D, D).
        ridge: r, but no less than a 100,000th of the mean variance, which rounding to float32 needs. None: r is a 10,000th
            of it.
    """
    sigma = covariance.double()
    variance = sigma.diagonal().mean()
    r = 1e-4 * variance if ridge is None else (1e-5 * variance).clamp(min=ridge)
    root: Tensor = torch.linalg.cholesky(sigma + (r + 1e-12) * torch.eye(len(sigma)).to(sigma))
    return root.to(covariance)


def align(
    head: nn.Module,
    mean: Tensor,
    root: Tensor,
    known: Tensor,
    arrival: Tensor,
    *,
    epochs: int,
    lr: float,
    tau: float,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    r"""Train a head on features drawn from N(mu_c, R_c R_c^T), 256 of each class and anew in each epoch.

    SGD with momentum 0.9, batches of 256, learning rate lr (1 + cos(pi e / epochs)) / 2 in epoch e.

    Args:
        head: (N, D) -> (N, C), in evaluation mode; it is not changed.
        mean: mu (K, D)
        root: R (K, D, D)
        known: (K,) int64, the classes.
        arrival: (K,) the experience that brought each of them.
        epochs: How often.
        lr: The learning rate at the start.
        tau: Temperature of the normalised logits.
        generator: On the CPU, so that every device and process draws the same.

    Returns:
        The trained parameters by name.
    """
    theta = {name: p.detach().clone().requires_grad_() for name, p in head.named_parameters()}
    momentum = [torch.zeros_like(p) for p in theta.values()]
    y = torch.arange(len(known), device=known.device).repeat_interleave(SAMPLES)
    for e in range(epochs):
        rate = lr * (1 + math.cos(math.pi * e / epochs)) / 2
        noise = torch.randn(len(mean), SAMPLES, mean.shape[1], generator=generator).to(mean)
        v = (mean[:, None] + noise @ root.mT).flatten(0, 1)
        order = torch.randperm(len(v), generator=generator).to(v.device)
        for chosen in order.view(-1, SAMPLES):
            with torch.enable_grad():
                logits = functional_call(head, theta, (v[chosen],))[:, known]
                gradients = torch.autograd.grad(alignment_loss(logits, y[chosen], arrival, tau), list(theta.values()))
            for p, velocity, gradient in zip(theta.values(), momentum, gradients, strict=True):
                p.data.sub_(velocity.mul_(0.9).add_(gradient), alpha=rate)
    return {name: p.detach() for name, p in theta.items()}


class SLCA(Strategy):
    r"""Train the backbone slowly, then align the head on features drawn from each class's Gaussian (arXiv 2303.05118).

    Slow learner: in experience t the backbone f (B, 3, H, W) -> (B, D) has the learning rate ``backbone_lr``, and the
    head h has the optimizer's rate. The loss is CE over the classes of the experience only, so the rows of other
    classes are not reduced.

    Classifier alignment: after the experience, mean mu_c (D,) and covariance Sigma_c (D, D) of its classes' features
    are stored. From the second experience on, the head is trained on v ~ N(mu_c, Sigma_c) of all classes c so far:

    .. math:: L = -\log \frac{\exp(l_y / (\tau \lVert l \rVert))}{\sum_c \exp(l_c / (\tau \lVert l \rVert))}, \qquad
              l = h(v)

    in ``alignment_epochs`` epochs of 256 features per class, drawn anew in each epoch, with SGD, momentum 0.9, batches
    of 256 and a cosine learning rate. \|l\| is the mean over experiences of the length of the logits (of the classes of
    each), as in the authors' code. The covariances take 4 C D^2 bytes: 236 MB for 100 classes of 768 features.

    The alignment is used for prediction only: before the next experience the head is restored, so each alignment starts
    from the trained rows.

    The method is for a pretrained backbone. The base strategy learns the base; use a slow backbone there too
    (``model.base_strategy: FullFineTune`` with ``backbone_lr``).

    Differences from the paper:
        - The statistics of a class that is seen again are pooled with the former ones, although features have changed.
        - Classes of a base checkpoint without data have no statistics, and alignment does not change their rows.
        - The authors' code also shrinks the means of older classes by up to a tenth and decays the weights in the
          alignment. Both are omitted here; without them head and alignment agree to 3e-7.

    Args:
        backbone_lr: Learning rate of the backbone, 0 or more.
        alignment_epochs: Number of epochs of the alignment; 0 omits it.
        alignment_lr: Initial learning rate of the alignment, above 0.
        tau: Temperature of the normalised logits, above 0.
        undo_alignment: Restore the unaligned head before the next experience. False: continue with the aligned head.
        ridge: r >= 0, added to the diagonal of each covariance (see :func:`square_root`). None: a 10,000th of its mean variance.
    """

    without_base = (
        "the distributions of its classes are not known, so they do not take part in the alignment of the classifier"
    )
    LATER_BUFFERS = frozenset({"unaligned"})
    EARLIER_DEFAULTS: ClassVar[Mapping[str, object]] = {"undo_alignment": False, "ridge": None}
    unaligned: Tensor  # (P,) the head's parameters before the newest alignment; empty where there is nothing to undo
    counts: Tensor  # (C,) int64, images in each class's statistics
    means: Tensor  # (C, D), mu
    covariances: Tensor  # (C, D, D), Sigma
    arrival: Tensor  # (C,) int64, which of the experiences that brought classes brought each; -1 for those to come
    own: Tensor  # (C,) bool, the classes of the present experience

    def __init__(
        self,
        backbone_lr: float = 1e-4,
        alignment_epochs: int = 5,
        alignment_lr: float = 1e-2,
        tau: float = 0.1,
        undo_alignment: bool = True,
        ridge: float | None = 1e-4,
    ) -> None:
        super().__init__()
        if not (backbone_lr >= 0 and alignment_epochs >= 0 and alignment_lr > 0 and tau > 0):
            raise ConfigError(
                "SLCA: expected backbone_lr >= 0, alignment_epochs >= 0, alignment_lr > 0 and tau > 0; found "
                f"{backbone_lr}, {alignment_epochs}, {alignment_lr} and {tau}."
            )
        if not (ridge is None or 0 <= ridge < math.inf):
            raise ConfigError(f"SLCA: expected a ridge of 0 or more (or null for the mean variance), found {ridge}.")
        self.backbone_lr, self.alignment_epochs = backbone_lr, alignment_epochs
        self.alignment_lr, self.tau = alignment_lr, tau
        self.undo_alignment, self.ridge = undo_alignment, ridge
        for name in ("unaligned", "counts", "means", "covariances", "arrival", "own"):
            self.register_buffer(name, torch.empty(0))

    def before_experience(self, network: Network, experience: Experience) -> None:
        """Undo the alignment, make place for the statistics, and note which classes are the experience's."""
        if len(self.unaligned) and not experience.is_base:
            vector_to_parameters(self.unaligned, network.head.parameters())
        if not len(self.counts):
            zeros, d = network.classifier.weight.new_zeros, network.facts.num_features
            self.counts = zeros(network.num_classes, dtype=torch.int64)
            self.means, self.covariances = zeros(network.num_classes, d), zeros(network.num_classes, d, d)
            self.arrival = torch.full_like(self.counts, -1)
        self.own = torch.zeros_like(network.seen)
        self.own[list(experience.classes)] = True

    def parameters_to_train(self, network: Network) -> list[dict[str, Any]]:
        """The backbone slowly, the head at the optimizer's rate."""
        backbone: dict[str, Any] = {"params": network.backbone.parameters(), "lr": self.backbone_lr}
        return [backbone, {"params": network.head.parameters()}]

    def loss(self, network: Network, batch: Batch) -> Tensor:
        """CE over the classes of the experience."""
        return self.cross_entropy(network, network(batch), batch, self.own)

    @torch.no_grad()
    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        """Take up the statistics of the experience's classes, then align the head."""
        found = [(network.features(batch).double(), batch["label"]) for batch in batches]
        d = network.facts.num_features
        v = torch.cat([features for features, _ in found] or [self.means.new_zeros(0, d, dtype=torch.float64)])
        labels = torch.cat([label for _, label in found] or [self.counts[:0]])
        first = not self.counts.any()  # not in the first increment of a run that has the statistics of its base
        for c in experience.classes:
            self._pool(c, v[labels == c])
        new = self.own & (self.arrival < 0)
        self.arrival = torch.where(new, self.arrival.max() + 1, self.arrival)
        if not (first or experience.is_base) and self.alignment_epochs:
            self._align(network)

    def _pool(self, c: int, v: Tensor) -> None:
        """Add a class's features (n, D) of this process to its statistics, over all processes."""
        count, n = int(self.counts[c]), int(self.reduce(self.counts.new_tensor(len(v))))
        mean = self.reduce(v.sum(dim=0)) / n
        scatter = self.reduce((v - mean).T @ (v - mean))
        self.means[c], self.covariances[c] = pool(
            count, self.means[c].double(), self.covariances[c].double(), n, mean, scatter
        )
        self.counts[c] = count + n

    def _align(self, network: Network) -> None:
        """Align the head, alike on every process."""
        if self.undo_alignment:
            self.unaligned = parameters_to_vector(network.head.parameters()).clone()
        known = self.counts.nonzero()[:, 0]
        theta = align(
            network.head,
            self.means[known],
            torch.stack([square_root(self.covariances[c], self.ridge) for c in known]),
            known,
            self.arrival[known],
            epochs=self.alignment_epochs,
            lr=self.alignment_lr,
            tau=self.tau,
            generator=torch.Generator().manual_seed(torch.initial_seed()),  # which the run sets for each experience
        )
        for name, p in network.head.named_parameters():
            p.copy_(theta[name])
