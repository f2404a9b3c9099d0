"""A linear classifier on frozen features, in closed form: what a new head on this backbone would reach."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Penalties to choose from, relative to the mean eigenvalue of the features' covariance."""
WITHOUT_VALIDATION = 1e-2


class LinearProbe:
    """Ridge regression of one-hot labels on features, from sums over batches.

    W = (X^T X - n m m^T + l I)^-1 (X^T Y - n m y^T) with the means m of the features and y of the labels; the penalty l is a
    multiple of the mean eigenvalue. Alain and Bengio, Understanding intermediate layers using linear classifier probes (arXiv
    1610.01644) fit such a probe by gradient descent; a closed form needs no learning rate and depends on no order.

    Args:
        dim: D, the number of features.
        classes: (K,) the labels to predict.
        device: Where the sums are kept, in double precision.
    """

    def __init__(self, dim: int, classes: Iterable[int], device: torch.device) -> None:
        self.classes = torch.tensor(sorted(classes), dtype=torch.long, device=device)
        k = len(self.classes)
        zeros = partial(torch.zeros, dtype=torch.float64, device=device)
        self.count, self.gram, self.products = zeros(1), zeros(dim, dim), zeros(dim, k)
        self.sums, self.per_class = zeros(dim), zeros(k)

    def update(self, features: Tensor, label: Tensor) -> None:
        """Add a batch.

        Args:
            features: (N, D)
            label: (N,) each one of ``classes``.
        """
        x = features.to(self.gram)
        y = (label[:, None] == self.classes).to(x)
        self.count += len(x)
        self.gram.addmm_(x.T, x)
        self.products.addmm_(x.T, y)
        self.sums += x.sum(0)
        self.per_class += y.sum(0)

    def reduce(self, total: Callable[[Tensor], Tensor]) -> None:
        """Replace the sums by those over all processes."""
        for name in ("count", "gram", "products", "sums", "per_class"):
            setattr(self, name, total(getattr(self, name)))

    def weights(self) -> tuple[Tensor, Tensor]:
        """The classifiers of all penalties: weights (R, D, K) and biases (R, K)."""
        n = self.count.clamp(min=1)
        m, y = self.sums / n, self.per_class / n
        gram = self.gram - n * torch.outer(m, m)
        eigenvalues, vectors = torch.linalg.eigh(gram)
        eigenvalues = eigenvalues.clamp(min=0)
        scale = eigenvalues.mean().clamp(min=torch.finfo(torch.float64).tiny)
        right = vectors.T @ (self.products - n * torch.outer(m, y))  # (D, K)
        found = torch.stack([vectors @ (right / (eigenvalues + ridge * scale)[:, None]) for ridge in RIDGES])
        return found, y - torch.einsum("d,rdk->rk", m, found)


def predict(features: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """Positions (R, N) among the K classes of the largest score.

    Args:
        features: (N, D)
        weights: (R, D, K)
        bias: (R, K)
    """
    return (features.to(weights) @ weights + bias[:, None]).argmax(-1)
