"""Deep streaming linear discriminant analysis (arXiv 1909.01520)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from strategies.nearest_mean import class_sums, classes_without_data
from strategies.queued_strategy import QueuedStrategy
from strategies.shrinkage import oas, pick_shrinkage

CHUNK = 256  # samples whose order is resolved by one matrix of (CHUNK, CHUNK)


def cholesky_factor(covariance: Tensor, remedy: str) -> Tensor:
    """The lower triangular L with L L^T = covariance.

    Args:
        covariance: (D, D) float64, symmetric.
        remedy: What the user should do if it is singular.

    Returns:
        (D, D) float64.

    Raises:
        ConfigError: It is singular, or so nearly that rounding would decide the inverse.
    """
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(covariance)
    diagonal = covariance.diagonal()
    smallest = len(covariance) * torch.finfo(covariance.dtype).eps * diagonal.max()
    if failed or not (factor.diagonal().square() > smallest).all():
        raise ConfigError(f"The covariance of {len(covariance)} features is singular: {remedy}")
    return factor


def stream_covariance(
    scatter: Tensor, sums: Tensor, counts: Tensor, features: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Take in samples one after the other, by the recursion of arXiv 1909.01520.

    For sample t = 0, 1, ... with feature z and class y, whose n_y earlier samples have the mean mu_y (0 without any):

    .. math:: \Delta = \tfrac{t}{t+1} (z-\mu_y)(z-\mu_y)^\top, \quad
        \Sigma \leftarrow \frac{t\Sigma + \Delta}{t+1}, \quad
        \mu_y \leftarrow \frac{n_y\mu_y + z}{n_y+1}, \quad n_y \leftarrow n_y + 1

    t Sigma is a plain sum of the Delta, and mu_y a matter of the earlier samples of the class: both are found for many
    samples at once, and any cut into batches gives what one sample after the other gives.

    Args:
        scatter: (D, D) float64, t Sigma.
        sums: (C, D) float64, n_y mu_y.
        counts: (C,) int64, n_y; their sum is t.
        features: (N, D), in the stream's order.
        labels: (N,) int64 in [0, C).

    Returns:
        The new scatter, sums and counts; the inputs are not changed.
    """
    for start in range(0, len(labels), CHUNK):
        z, y = features[start : start + CHUNK].double(), labels[start : start + CHUNK]
        earlier = (y[:, None] == y).double().tril(-1)  # (N, N), samples before of the same class
        n = counts[y] + earlier.sum(dim=1)
        d = z - (sums[y] + earlier @ z) / n.clamp(min=1)[:, None]
        t = (counts.sum() + torch.arange(len(z), device=z.device)).double()
        scatter = scatter + (d * (t / (t + 1))[:, None]).T @ d
        new_sums, new_counts = class_sums(z, y, len(counts))
        sums, counts = sums + new_sums, counts + new_counts
    return scatter, sums, counts


def discriminant(
    scatter: Tensor,
    sums: Tensor,
    counts: Tensor,
    shrinkage: float,
    target: float = 1.0,
    name: str = "StreamingLDA",
) -> tuple[Tensor, Tensor]:
    r"""Weight and bias of the linear discriminant: Lambda mu_c and -mu_c^T Lambda mu_c / 2.

    .. math:: \Lambda = [(1-\varepsilon)\Sigma + \varepsilon \nu I]^{-1}

    Args:
        scatter: (D, D) float64, t Sigma.
        sums: (C, D) float64.
        counts: (C,) int64, their sum t.
        shrinkage: epsilon.
        target: nu, the variance that it is shrunk to.
        name: Name of the strategy, for a message.

    Returns:
        (C, D) and (C,) float64; a class without a sample has the bias -inf.

    Raises:
        ConfigError: The matrix is singular.
    """
    eye = torch.eye(len(scatter), dtype=scatter.dtype, device=scatter.device)
    t = int(counts.sum())
    regularised = (1 - shrinkage) * scatter / t + shrinkage * target * eye
    remedy = f"{t} image(s) so far. {name}: expected a larger shrinkage (1e-4 is usual), found {shrinkage}"
    mu = sums / counts.clamp(min=1)[:, None]
    weight = torch.cholesky_solve(mu.T, cholesky_factor(regularised, remedy)).T
    return weight, (-(mu * weight).sum(dim=1) / 2).masked_fill(counts == 0, -torch.inf)


class StreamingLDA(QueuedStrategy):
    r"""Linear discriminant analysis, image by image, on a frozen backbone (Deep SLDA, arXiv 1909.01520).

    Class means mu_c (D,) and one covariance Sigma (D, D), shared by all classes, are updated by each image's feature
    in the stream's order, see :func:`stream_covariance`. With the shrinkage eps and the feature v (D,):

    .. math:: \Lambda = [(1-\varepsilon)\Sigma + \varepsilon I]^{-1}, \qquad
        \text{logit}_c = v^\top \Lambda \mu_c - \tfrac12 \mu_c^\top \Lambda \mu_c

    By default eps is selected after each experience from the stored sums, see
    :func:`strategies.shrinkage.pick_shrinkage`, and I is multiplied by the mean variance, so the scale of the features
    has no effect. The selected value depends on the number of images per feature; see docs/strategies.md for figures.

    The covariance depends on the order of the images, because each is compared with the mean of those before it, but
    not on the batches. It is stored in float64, D * D * 8 bytes. There is no gradient, and the data of the base comes
    first. A class without an image has the logit -inf.

    The authors' code is ``shrinkage: 1e-4`` with ``covariance: oas``: Sigma starts from the first experience's images
    about their class means, shrunk by OAS (:func:`strategies.shrinkage.oas`), and continues with the recursion.

    Differences from the paper:
        - By default eps is selected instead of 1e-4, and the images of the first experience are streamed like all
          others.
        - The mean of a class before its first image is 0, as in the authors' code: the first image adds its whole
          feature to the covariance.

    Args:
        shrinkage: eps, from 0 to 1. With 0, more images than features are needed. None: automatic selection.
        covariance: ``stream``: the recursion from the first image on. ``oas``: it starts from the OAS estimate of the first
            experience.
    """

    draws_nothing = True
    LATER_BUFFERS = frozenset({"moment", "picked"})
    EARLIER_DEFAULTS: ClassVar[Mapping[str, object]] = {"shrinkage": 1e-4, "covariance": "stream"}
    class_axes: ClassVar[Mapping[str, int]] = {"sums": 0, "counts": 0, "weight": 0, "bias": 0}
    scatter: Tensor  # (D, D) float64, t Sigma after t images; empty before the first image
    moment: Tensor  # (D, D) float64, sum of v v^T while OAS's experience is learned; empty at all other times
    sums: Tensor  # (C, D) float64
    counts: Tensor  # (C,) int64
    weight: Tensor  # (C, D) float64, Lambda mu_c; empty while the experience is learned
    bias: Tensor  # (C,) float64
    picked: Tensor  # () float64, the eps that they were made with

    def __init__(self, shrinkage: float | None = None, covariance: Literal["stream", "oas"] = "stream") -> None:
        super().__init__()
        if not (shrinkage is None or 0 <= shrinkage <= 1):
            raise ConfigError(
                f"{type(self).__name__}: expected a shrinkage from 0 to 1 (or null for automatic selection), found "
                f"{shrinkage}."
            )
        if covariance not in ("stream", "oas"):
            raise ConfigError(f"StreamingLDA: expected covariance stream or oas, found {covariance!r}.")
        self.shrinkage, self.covariance = shrinkage, covariance
        for name in ("scatter", "moment", "sums", "counts", "weight", "bias", "picked"):
            self.register_buffer(name, torch.empty(0, dtype=torch.int64 if name == "counts" else torch.float64))

    def absorb(self, v: Tensor, labels: Tensor, classes: int) -> None:
        """Take in features, one image after the other."""
        d = v.shape[1]
        if not self.counts.numel():
            self.scatter, self.sums, self.counts = v.new_zeros(d, d), v.new_zeros(classes, d), labels.new_zeros(classes)
            self.moment = v.new_zeros(d, d) if self.covariance == "oas" else self.moment
        if self.moment.numel():
            sums, counts = class_sums(v, labels, classes)
            self.moment, self.sums, self.counts = self.moment + v.T @ v, self.sums + sums, self.counts + counts
        else:
            state = stream_covariance(self.scatter, self.sums, self.counts, v, labels)
            self.scatter, self.sums, self.counts = state
        self.weight, self.bias = v.new_empty(0), v.new_empty(0)

    def settle(self) -> None:
        """Solve for the discriminant."""
        if self.counts.numel():
            self.scatter, self.moment = self._scatter(), self.moment.new_empty(0)
            self.weight, self.bias, shrinkage = self.solve()
            self.picked = self.weight.new_tensor(shrinkage)

    def _scatter(self) -> Tensor:
        """(D, D) t Sigma, of all images so far; by OAS in the experience that starts from it."""
        if not self.moment.numel():
            return self.scatter
        n = int(self.counts.sum())
        between = self.sums.T @ (self.sums / self.counts.clamp(min=1)[:, None])
        return n * oas((self.moment - between) / n, n)

    def solve(self) -> tuple[Tensor, Tensor, float]:
        """Weight (C, D) and bias (C,) of all images so far, and their eps."""
        scatter = self._scatter()
        shrinkage, target = self.shrinkage, 1.0
        if shrinkage is None:
            variance = float(scatter.diagonal().mean()) / int(self.counts.sum())
            # Without variance there is a single image; the nearest mean is what shrinkage tends to.
            shrinkage = pick_shrinkage(scatter, self.sums, self.counts) if variance else 1.0
            target = variance or 1.0
        weight, bias = discriminant(scatter, self.sums, self.counts, shrinkage, target, type(self).__name__)
        return weight, bias, shrinkage

    def scores(self, v: Tensor) -> Tensor | None:
        """Logits (N, C) of the discriminant."""
        if not self.counts.numel():
            return None
        weight, bias = (self.weight, self.bias) if self.weight.numel() else self.solve()[:2]
        return v @ weight.T + bias

    def notes(self, network: Network) -> Sequence[str]:
        """Say which shrinkage was picked and which classes cannot be predicted."""
        picked = (
            [f"shrinkage {float(self.picked):.3g} selected"] if self.shrinkage is None and self.picked.numel() else []
        )
        return [*picked, *classes_without_data(network, self.counts)]
