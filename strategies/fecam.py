"""FeCAM: Mahalanobis distances with a covariance for each class (arXiv 2309.14062)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.errors import CheckpointError, ConfigError
from lightning_vision.learning.network import Network
from strategies.nearest_mean import class_sums, classes_without_data, shift_of_means
from strategies.queued_strategy import QueuedStrategy
from strategies.streaming_lda import cholesky_factor

LARGEST_SOLVED = 160
"""Rows of the largest triangular matrix that is inverted in one piece."""
ROWS_AT_ONCE = 256
"""Rows of a triangular matrix that are multiplied at once: what is above the diagonal of the others is 0."""


def tukey_transform(features: Tensor, power: float) -> Tensor:
    r"""Tukey's ladder of powers, :math:`v^\lambda` per entry; a negative entry keeps its sign: :math:`-|v|^\lambda`."""
    return features if power == 1 else features.sign() * features.abs().pow(power)


def shrink(covariance: Tensor, gamma1: float, gamma2: float) -> Tensor:
    r"""Shrink a covariance.

    .. math:: \Sigma_s = \Sigma + \gamma_1 V_1 I + \gamma_2 V_2 (1 - I)

    with the mean V_1 of the diagonal and the mean V_2 of all other entries.

    Args:
        covariance: (D, D), Sigma.
        gamma1: Weight of the mean variance.
        gamma2: Weight of the mean covariance.
    """
    d = len(covariance)
    v1 = covariance.diagonal().mean()
    v2 = (covariance.sum() - covariance.diagonal().sum()) / max(d * (d - 1), 1)
    shrunk = covariance + gamma2 * v2
    shrunk.diagonal().copy_(covariance.diagonal() + gamma1 * v1)
    return shrunk


def correlation(covariance: Tensor) -> Tensor:
    """A covariance (D, D) divided by its standard deviations: the diagonal becomes 1. NaN where a variance is 0."""
    sd = covariance.diagonal().sqrt()
    return covariance / (sd[:, None] * sd)


def inverse_of_triangle(lower: Tensor) -> Tensor:
    """The inverse (D, D) of a lower triangular matrix.

    By halves, because products of full matrices are faster than solving for each column of the identity.
    """
    d = len(lower)
    if d <= LARGEST_SOLVED:
        eye = torch.eye(d, dtype=lower.dtype, device=lower.device)
        solved: Tensor = torch.linalg.solve_triangular(lower, eye, upper=False)
        return solved
    half, inverse = d // 2, torch.zeros_like(lower)
    first, last = (inverse_of_triangle(part) for part in (lower[:half, :half], lower[half:, half:]))
    inverse[:half, :half], inverse[half:, half:] = first, last
    inverse[half:, :half] = -last @ (lower[half:, :half] @ first)
    return inverse


def triangle(d: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The places in a flattened matrix (D, D) of its upper triangle, and those of the same entries in the lower one."""
    rows, columns = torch.triu_indices(d, d, device=device)
    return rows * d + columns, columns * d + rows


def lengths_after(lower: Tensor, vectors: Tensor) -> Tensor:
    """The squared lengths (N,) of vectors (N, D) that a lower triangular matrix (D, D) has been applied to."""
    starts = range(0, len(lower), ROWS_AT_ONCE)
    stops = [start + ROWS_AT_ONCE for start in starts]
    parts = [vectors[:, :b] @ lower[a:b, :b].T for a, b in zip(starts, stops, strict=True)]
    return torch.stack([part.square().sum(dim=1) for part in parts]).sum(dim=0)


def class_whitening(scatter: Tensor, mean: Tensor, count: int, gamma1: float, gamma2: float) -> Tensor:
    r"""The inverse A of the Cholesky factor of a class's normalised covariance: A^T A is its inverse.

    Args:
        scatter: (D, D) float64, the sum of :math:`(v-\mu)(v-\mu)^\top` over the class's n samples.
        mean: (D,) float64, mu.
        count: n.
        gamma1: See ``shrink``.
        gamma2: See ``shrink``.

    Returns:
        (D, D) float64, lower triangular.

    Raises:
        ConfigError: The matrix is singular.
    """
    covariance = scatter / max(count - 1, 1)
    if gamma1 > 0 and covariance.diagonal().sum() <= 1e-12 * mean.square().sum():
        return torch.eye(
            len(scatter), dtype=scatter.dtype, device=scatter.device
        )  # one image, or copies of one: what shrinkage tends to as the covariance goes to 0
    remedy = (
        f"a class has {count} image(s). FeCAM: expected a larger gamma1 (1 is usual, not below gamma2), found gamma1 "
        f"{gamma1} and gamma2 {gamma2}."
    )
    normalised = correlation(shrink(covariance, gamma1, gamma2)).nan_to_num(nan=0.0)  # a row without variance: singular
    return inverse_of_triangle(cholesky_factor(normalised, remedy))


class FeCAM(QueuedStrategy):
    r"""Classify by Mahalanobis distances with a covariance per class, on a frozen backbone (FeCAM, arXiv 2309.14062).

    Each class c has the mean mu_c (D,) of its penultimate features v (D,) and the covariance Sigma_c (D, D) of the features
    transformed by Tukey's power lambda, which is shrunk (:func:`shrink`) and normalised to a correlation matrix R_c:

    .. math:: \tilde v = v^\lambda, \quad
        (\Sigma_c)_s = \Sigma_c + \gamma_1 V_1 I + \gamma_2 V_2 (1 - I), \quad
        R_c(i, j) = \frac{(\Sigma_c)_s(i, j)}{\sqrt{(\Sigma_c)_s(i, i)\, (\Sigma_c)_s(j, j)}}

    .. math:: \text{logit}_c = -(\hat v - \hat\mu_c)^\top R_c^{-1} (\hat v - \hat\mu_c)

    where a hat means transformed and then scaled to length 1. Sums are stored in float64, and one triangle of Sigma_c:
    C * D * D * 4 bytes (for 100 classes 0.1 GB at D = 512, 0.9 GB at 1,536). Prediction needs the same again, which is
    not in the checkpoint. The head does not depend on the order of images or the number of processes. There is no
    gradient, and the data of the base is included. A class without an image has the logit -inf. The logits are not
    calibrated: distances between vectors of length 1 are small, and a softmax is nearly flat.

    Shrinkage is needed with fewer images than D; a class with a single image has R_c = I. Tukey's transform is for
    features that are not negative, as after a ReLU. A negative entry keeps its sign here, and the run prints a message.
    For such a backbone try the authors' form for vision transformers, ``scale_first: true, tukey: 1, gamma1: 1, gamma2:
    0``: features are scaled to length 1 before means and covariances are computed, and not transformed afterwards.

    By default the logits equal those of the authors' code (see docs/strategies.md) in details that the paper does not
    specify: the mean of a class is transformed after it was computed, and both lengths are 1.

    Differences from the paper:
        - V_2 is over all entries; theirs excludes entries that are exactly 0, as for features that are 0 in a class.
        - The code shrinks twice with 1, which equals shrinking once with 2 gamma + gamma^2 = 3, the default here.
        - The code uses the trained head in the first experience; here the distance is used from the start.
        - A class that is seen again keeps its statistics.

    Args:
        tukey: lambda, above 0 and at most 1; 1 does not change the features.
        gamma1: Shrinkage towards the mean variance, 0 or more. With 0, more images per class than D are needed.
        gamma2: Shrinkage towards the mean covariance, 0 or more.
        mean: ``raw``: mu_c is the mean of the features, then transformed. ``transformed``: the mean of transformed
            features.
        scale_first: Scale features to length 1 first, instead of scaling v and mu_c after the transform.
    """

    draws_nothing = True
    LATER_BUFFERS = frozenset({"raw_sums"})
    EARLIER_DEFAULTS: ClassVar[Mapping[str, object]] = {
        "gamma1": 1.0,
        "gamma2": 1.0,
        "mean": "transformed",
        "scale_first": False,
    }
    class_axes: ClassVar[Mapping[str, int]] = {"sums": 0, "raw_sums": 0, "counts": 0, "scatter": 0}
    sums: Tensor  # (C, D) float64, of the transformed features; empty before the first image, as all that follow
    raw_sums: Tensor  # (C, D) float64, of the features; empty too where the means are of the transformed ones
    counts: Tensor  # (C,) int64
    scatter: Tensor  # (C, D * (D + 1) / 2) float64, upper triangles of the sums of (v - mu)(v - mu)^T
    negative: Tensor  # () int64, how many images had a negative entry
    whitening: Tensor  # (C, D, D) float32, the inverse Cholesky factors; not in the checkpoint, as what follows
    whitened: Tensor  # (C,) int64, the counts that they were made from

    def __init__(
        self,
        tukey: float = 0.5,
        gamma1: float = 3.0,
        gamma2: float = 3.0,
        mean: Literal["raw", "transformed"] = "raw",
        scale_first: bool = False,
    ) -> None:
        super().__init__()
        if not 0 < tukey <= 1 or not 0 <= gamma1 < float("inf") or not 0 <= gamma2 < float("inf"):
            raise ConfigError(
                f"FeCAM: expected 0 < tukey <= 1, gamma1 >= 0, gamma2 >= 0; found {tukey}, {gamma1}, {gamma2}."
            )
        if mean not in ("raw", "transformed"):
            raise ConfigError(f"FeCAM: expected the mean raw or transformed, found {mean!r}.")
        self.tukey, self.gamma1, self.gamma2 = tukey, gamma1, gamma2
        self.scale_first, self.raw_means = scale_first, mean == "raw" and tukey != 1
        self.register_buffer("negative", torch.zeros((), dtype=torch.int64))
        for name in ("sums", "raw_sums", "counts", "scatter"):
            self.register_buffer(name, torch.empty(0, dtype=torch.int64 if name == "counts" else torch.float64))
        for name in ("whitening", "whitened"):
            self.register_buffer(name, torch.empty(0), persistent=False)

    def absorb(self, v: Tensor, labels: Tensor, classes: int) -> None:
        """Add features to the means and covariances of their classes."""
        raw = F.normalize(v, dim=1) if self.scale_first else v
        v, d = tukey_transform(raw, self.tukey), v.shape[1]
        if not self.counts.numel():
            self.sums, self.scatter = v.new_zeros(classes, d), v.new_zeros(classes, d * (d + 1) // 2)
            self.counts = labels.new_zeros(classes)
            self.raw_sums = v.new_zeros(classes, d) if self.raw_means else self.raw_sums
        if self.raw_means:
            self.raw_sums = self.raw_sums + class_sums(raw, labels, classes)[0]
        upper, _ = triangle(d, v.device)
        sums, counts = class_sums(v, labels, classes)
        for j in torch.unique(labels).tolist():
            mean = sums[j] / counts[j]
            shift = shift_of_means(self.sums[j], self.counts[j], sums[j], counts[j])
            centred = torch.cat([v[labels == j] - mean, shift[None]])
            self.scatter[j] += (centred.T @ centred).view(-1).index_select(0, upper)
        self.sums, self.counts = self.sums + sums, self.counts + counts
        self.negative = self.negative + (v < 0).any(dim=1).sum()

    @torch.inference_mode(False)  # its results are used after an evaluation
    def settle(self) -> None:
        """Invert the covariances of the classes that have new images."""
        d, c = self.sums.shape[-1], len(self.counts)
        if not self.whitening.numel():
            self.whitening = torch.zeros(c, d, d, device=self.sums.device)
            self.whitened = torch.zeros_like(self.counts)
        full = self.sums.new_zeros(d, d)
        for j in (self.counts != self.whitened).nonzero()[:, 0].tolist():
            for places in triangle(d, full.device):
                full.view(-1).index_copy_(0, places, self.scatter[j])
            n = int(self.counts[j])
            self.whitening[j] = class_whitening(full, self.sums[j] / n, n, self.gamma1, self.gamma2)
        self.whitened = self.counts.clone()

    def scores(self, v: Tensor) -> Tensor | None:
        """Logits (N, C), minus the distances."""
        if not self.counts.numel():
            return None
        self.settle()
        v = tukey_transform(F.normalize(v, dim=1) if self.scale_first else v, self.tukey)
        mu = (self.raw_sums if self.raw_means else self.sums) / self.counts.clamp(min=1)[:, None]
        mu = tukey_transform(mu, self.tukey) if self.raw_means else mu
        if not self.scale_first:
            v, mu = F.normalize(v, dim=1), F.normalize(mu, dim=1)
        logits = v.new_full((len(v), len(mu)), -torch.inf)
        for j in self.counts.nonzero()[:, 0].tolist():
            logits[:, j] = -lengths_after(self.whitening[j], (v - mu[j]).to(self.whitening.dtype))
        return logits

    def notes(self, network: Network) -> Sequence[str]:
        """Say where Tukey's transform met negative features, and which classes cannot be predicted."""
        words = []
        if self.tukey != 1 and self.negative:
            words.append(
                f"{int(self.negative)} of {int(self.counts.sum())} images have negative features, for which Tukey's "
                "transform is not defined: try scale_first true, tukey 1, gamma1 1, gamma2 0"
            )
        return [*words, *classes_without_data(network, self.counts)]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Forget what was made of the former state."""
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.whitening, self.whitened = self.whitening.new_empty(0), self.whitened.new_empty(0)
        if self.raw_means and self.counts.numel() and not self.raw_sums.numel():
            raise CheckpointError(
                "FeCAM: the checkpoint contains only the means of transformed features, but the means of features "
                "were expected. Use model.strategy.mean=transformed, as in the run that wrote it."
            )
