"""Nearest class mean (arXiv 1611.07725, 2303.07338)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy


def class_sums(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Sum and number of the features of each class.

    A matrix product is used because ``index_add`` on a GPU sums in an order that changes from run to run.

    Args:
        features: (N, D).
        labels: (N,) int64 in [0, C).
        classes: C.

    Returns:
        Sums (C, D) float64 and counts (C,) int64.
    """
    member = F.one_hot(labels, classes).T  # (C, N)
    return member.double() @ features.double(), member.sum(dim=1)


def shift_of_means(sums: Tensor, counts: Tensor, more_sums: Tensor, more_counts: Tensor) -> Tensor:
    r"""What the scatter within a class gains when samples with another mean are added, as a row of its root.

    .. math:: \sqrt{\frac{n n'}{n + n'}}\, (\mu - \mu')

    Two sets of n and n' samples have the common scatter S + S' + the outer product of this row with itself.

    Args:
        sums: (..., D) float64, n mu of the samples so far.
        counts: (...) int64, n.
        more_sums: (..., D) float64, n' mu' of those that are added.
        more_counts: (...) int64, n'.

    Returns:
        (..., D) float64; 0 if n or n' is 0.
    """
    n, m = counts[..., None], more_counts[..., None]
    weight = (n * m / (n + m).clamp(min=1).double()).sqrt()
    return weight * (sums / n.clamp(min=1) - more_sums / m.clamp(min=1))


def classes_without_data(network: Network, counts: Tensor) -> list[str]:
    """A message if classes of the base cannot be predicted, because they had no data.

    Args:
        network: The network with the classes seen.
        counts: (C,) number of images per class; empty before the first image.
    """
    missing = int((network.seen & (counts == 0)).sum()) if counts.numel() else 0
    if not missing:
        return []
    return [f"{missing} known class(es) are never predicted, because they had no image since the base checkpoint"]


def similarity(features: Tensor, means: Tensor, metric: Literal["cosine", "euclidean"]) -> Tensor:
    r"""Similarity of features and class means: :math:`-\lVert v-\mu_c\rVert^2` or :math:`\cos(v, \mu_c)`.

    Args:
        features: (N, D) float64.
        means: (C, D) float64.
        metric: euclidean or cosine. The cosine with a vector of length 0 is 0.

    Returns:
        (N, C) float64.
    """
    if metric == "euclidean":
        return -torch.cdist(features, means).square()
    return F.normalize(features, dim=1) @ F.normalize(means, dim=1).T


class NearestMean(Strategy):
    r"""Classify by the nearest class mean of a frozen backbone's features (arXiv 1611.07725, 2303.07338).

    With the penultimate features v (D,) of the n_c images of class c seen so far, and their sum s_c (D,):

    .. math:: \mu_c = s_c / n_c, \qquad
        \text{logit}_c = \cos(v, \mu_c) / \tau \quad\text{or}\quad -\lVert v - \mu_c \rVert^2

    Sums (C, D) are stored in float64 with counts (C,), so the means do not depend on the order of images or the number
    of processes. There is no gradient, and the data of the base is included. A class without an image has the logit
    -inf.

    Differences from the papers:
        - iCaRL (1611.07725) uses the mean over exemplars of features scaled to length 1, and the Euclidean distance.
          Here it is the mean over all images, as in 2303.07338.
        - A cosine lies in [-1, 1], where a softmax is nearly flat. It is divided by the temperature tau, which changes
          probabilities but not predictions.

    Args:
        metric: cosine or euclidean.
        temperature: tau of the cosine, above 0.
    """

    kind = "closed_form"
    draws_nothing = True
    freezes_backbone = True
    needs_base_data = True
    class_axes: ClassVar[Mapping[str, int]] = {"sums": 0, "counts": 0}
    sums: Tensor  # (C, D) float64; empty before the first update
    counts: Tensor  # (C,) int64

    def __init__(self, metric: Literal["cosine", "euclidean"] = "cosine", temperature: float = 0.1) -> None:
        super().__init__()
        if metric not in ("cosine", "euclidean") or not 0 < temperature < float("inf"):
            raise ConfigError(
                "NearestMean: expected metric cosine or euclidean and a temperature above 0; "
                f"found {metric!r}, {temperature}."
            )
        self.metric: Literal["cosine", "euclidean"] = metric
        self.temperature = temperature
        self.register_buffer("sums", torch.empty(0, dtype=torch.float64))
        self.register_buffer("counts", torch.empty(0, dtype=torch.int64))

    def update(self, network: Network, features: Tensor, labels: Tensor) -> None:
        """Add a batch to its classes' sums and counts."""
        sums, counts = class_sums(network.penultimate(features), labels, network.num_classes)
        first = not self.counts.numel()
        self.sums, self.counts = (sums, counts) if first else (self.sums + sums, self.counts + counts)

    def predict(self, network: Network, features: Tensor) -> Tensor | Mapping[str, Tensor]:
        """Logits (N, C) by the class means; the network's own before the first update."""
        if not self.counts.any():
            return super().predict(network, features)
        v, mu = network.penultimate(features).double(), self.sums / self.counts.clamp(min=1)[:, None]
        logits = similarity(v, mu, self.metric) / (self.temperature if self.metric == "cosine" else 1.0)
        return logits.masked_fill(self.counts == 0, -torch.inf).to(features.dtype)

    def notes(self, network: Network) -> Sequence[str]:
        """Report classes that cannot be predicted."""
        return classes_without_data(network, self.counts)
