"""Deep streaming linear discriminant analysis (arXiv 1909.01520)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_vision.errors import ConfigError
from lightning_vision.network import Network
from strategies.nearest_mean import class_sums, classes_without_data
from strategies.queued_strategy import QueuedStrategy

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


def discriminant(scatter: Tensor, sums: Tensor, counts: Tensor, shrinkage: float) -> tuple[Tensor, Tensor]:
    r"""Weight and bias of the linear discriminant: Lambda mu_c and -mu_c^T Lambda mu_c / 2.

    .. math:: \Lambda = [(1-\varepsilon)\Sigma + \varepsilon I]^{-1}

    Args:
        scatter: (D, D) float64, t Sigma.
        sums: (C, D) float64.
        counts: (C,) int64, their sum t.
        shrinkage: epsilon.

    Returns:
        (C, D) and (C,) float64; a class without a sample has the bias -inf.

    Raises:
        ConfigError: The matrix is singular.
    """
    eye = torch.eye(len(scatter), dtype=scatter.dtype, device=scatter.device)
    t = int(counts.sum())
    regularised = (1 - shrinkage) * scatter / t + shrinkage * eye
    remedy = f"{t} picture(s) came so far. StreamingLDA: expected a larger shrinkage (1e-4 is usual), found {shrinkage}"
    mu = sums / counts.clamp(min=1)[:, None]
    weight = torch.cholesky_solve(mu.T, cholesky_factor(regularised, remedy)).T
    return weight, (-(mu * weight).sum(dim=1) / 2).masked_fill(counts == 0, -torch.inf)


class StreamingLDA(QueuedStrategy):
    r"""Linear discriminant analysis, one picture after the other, on a frozen backbone (Deep SLDA, arXiv 1909.01520).

    Class means mu_c (D,) and one covariance Sigma (D, D), shared by all classes, are updated by each picture's feature
    in the stream's order, see :func:`stream_covariance`. With the shrinkage eps and the feature v (D,):

    .. math:: \Lambda = [(1-\varepsilon)\Sigma + \varepsilon I]^{-1}, \qquad
        \text{logit}_c = v^\top \Lambda \mu_c - \tfrac12 \mu_c^\top \Lambda \mu_c

    The covariance depends on the pictures' order, for each is compared with the mean of those before it; it does not
    depend on how they are cut into batches. It is kept in float64, D * D * 8 bytes. There is no gradient; the base's data
    comes first. A class without a picture gets -inf.

    Differences from the paper:
        - The base's pictures are streamed like all others. The paper starts from their covariance as estimated by OAS.
        - The class mean before a class's first picture is 0, as in the authors' code: that picture adds its whole
          feature to the covariance.

    Args:
        shrinkage: eps, from 0 to 1. With 0, more pictures than features are needed.
    """

    draws_nothing = True
    scatter: Tensor  # (D, D) float64, t Sigma after t pictures; empty before the first picture
    sums: Tensor  # (C, D) float64
    counts: Tensor  # (C,) int64
    weight: Tensor  # (C, D) float64, Lambda mu_c; empty while the experience is learned
    bias: Tensor  # (C,) float64

    def __init__(self, shrinkage: float = 1e-4) -> None:
        super().__init__()
        if not 0 <= shrinkage <= 1:
            raise ConfigError(f"StreamingLDA: expected a shrinkage from 0 to 1, found {shrinkage}.")
        self.shrinkage = shrinkage
        for name in ("scatter", "sums", "counts", "weight", "bias"):
            self.register_buffer(name, torch.empty(0, dtype=torch.int64 if name == "counts" else torch.float64))

    def absorb(self, v: Tensor, labels: Tensor, classes: int) -> None:
        """Take in features, one picture after the other."""
        d = v.shape[1]
        if not self.counts.numel():
            self.scatter, self.sums, self.counts = v.new_zeros(d, d), v.new_zeros(classes, d), labels.new_zeros(classes)
        state = stream_covariance(self.scatter, self.sums, self.counts, v, labels)
        self.scatter, self.sums, self.counts = state
        self.weight, self.bias = v.new_empty(0), v.new_empty(0)

    def settle(self) -> None:
        """Solve for the discriminant."""
        if self.counts.numel():
            self.weight, self.bias = discriminant(self.scatter, self.sums, self.counts, self.shrinkage)

    def scores(self, v: Tensor) -> Tensor | None:
        """Logits (N, C) of the discriminant."""
        if not self.counts.numel():
            return None
        weight, bias = self.weight, self.bias
        if not weight.numel():
            weight, bias = discriminant(self.scatter, self.sums, self.counts, self.shrinkage)
        return v @ weight.T + bias

    def notes(self, network: Network) -> Sequence[str]:
        """Say which classes cannot be predicted."""
        return classes_without_data(network, self.counts)
