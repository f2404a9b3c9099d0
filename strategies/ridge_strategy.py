"""Closed forms that predict by a ridge regression on a fixed function of the features."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from strategies.nearest_mean import class_sums, classes_without_data
from strategies.queued_strategy import QueuedStrategy

SOLVABLE = 1e-10  # of |G|: below, rounding of G to float64 would move the solution by more than 1e-5


def ridge_regression(gram: Tensor, targets: Tensor, ridge: float, option: str = "ridge", remedy: str = "") -> Tensor:
    r"""The ridge regression W_o = (G + lambda I)^-1 Q, transposed.

    Args:
        gram: (M, M) float64, G.
        targets: (C, M) float64, Q transposed: per class the sum of its samples' h.
        ridge: lambda, above 0.
        option: The option that set it, for a message.
        remedy: What else the user can do if it is too small.

    Returns:
        (C, M) float64.

    Raises:
        ConfigError: lambda is too small for a solution in float64.
    """
    regularised = gram.clone()
    regularised.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(regularised)
    if failed:
        smallest = SOLVABLE * float(torch.linalg.matrix_norm(gram))
        raise ConfigError(
            f"{option} {ridge:g} is too small for these features: the matrix is singular. Expected {smallest:.0e} or "
            f"more{remedy}."
        )
    return torch.cholesky_solve(targets.T, factor).T


class RidgeStrategy(QueuedStrategy):
    r"""A closed form that regresses one-hot targets on regressors h (M,), a fixed function of the features v (D,).

    .. math:: G = \sum h^\top h, \quad Q = \sum h^\top y, \quad \text{logit} = h\,(G + \lambda I)^{-1} Q

    G and Q are float64 sums over all images so far, stored separately for P parts of the images. A class without an
    image has the logit -inf.

    A subclass overrides ``draw``, ``regressors`` and ``penalty``, and ``parts`` if there are several.
    """

    class_axes: ClassVar[Mapping[str, int]] = {"targets": 1, "counts": 1, "weight": 0}
    projection: Tensor  # float32, what is drawn; empty before the first image, as all that follow
    grams: Tensor  # (P, M, M) float64, G
    targets: Tensor  # (P, C, M) float64, Q transposed
    counts: Tensor  # (P, C) int64
    weight: Tensor  # (C, M) float64, the head; empty while the experience is learned
    option = "ridge"
    """The option that sets lambda, and what else the user can do where it is too small, for a message."""
    remedy = ""

    def __init__(self) -> None:
        super().__init__()
        for name in ("projection", "grams", "targets", "counts", "weight"):
            self.register_buffer(name, torch.empty(0, dtype=torch.int64 if name == "counts" else torch.float64))

    @abstractmethod
    def draw(self, dimensions: int) -> Tensor:
        """Draw the projection (D, M) float32 for features of D dimensions, on the CPU."""

    @abstractmethod
    def regressors(self, v: Tensor) -> Tensor:
        """The regressors h (N, M) float64 of features v (N, D) float64."""

    @abstractmethod
    def penalty(self) -> float:
        """Lambda for all images so far."""

    def parts(self, v: Tensor) -> Sequence[Tensor | slice]:
        """Select the features (N, D) of each of the P parts."""
        return (slice(None),)

    def absorb(self, v: Tensor, labels: Tensor, classes: int) -> None:
        """Add features to G and Q of their part."""
        if not self.counts.numel():
            self.projection = self.draw(v.shape[1]).to(v.device)
            m, p = self.regressors(v[:0]).shape[1], len(self.parts(v[:0]))
            self.grams, self.targets = v.new_zeros(p, m, m), v.new_zeros(p, classes, m)
            self.counts = labels.new_zeros(p, classes)
        for part, mine in enumerate(self.parts(v)):
            h = self.regressors(v[mine])
            self.grams[part].addmm_(h.T, h)  # in place: M can be large
            sums, counts = class_sums(h, labels[mine], classes)
            self.targets[part] += sums
            self.counts[part] += counts
        self.weight = v.new_empty(0)

    def solve(self, ridge: float) -> Tensor:
        """The head (C, M) of all images so far."""
        gram = self.grams[0] if len(self.grams) == 1 else self.grams.sum(dim=0)  # a sum of one is a copy
        option = f"{type(self).__name__}: {self.option}"
        return ridge_regression(gram, self.targets.sum(dim=0), ridge, option, self.remedy)

    def settle(self) -> None:
        """Solve for the head."""
        if self.counts.numel():
            self.weight = self.solve(self.penalty())

    def scores(self, v: Tensor) -> Tensor | None:
        """Logits (N, C) of the regression."""
        if not self.counts.numel():
            return None
        weight = self.weight if self.weight.numel() else self.solve(self.penalty())
        return (self.regressors(v) @ weight.T).masked_fill(self.counts.sum(dim=0) == 0, -torch.inf)

    def notes(self, network: Network) -> Sequence[str]:
        """Report the classes that cannot be predicted."""
        return classes_without_data(network, self.counts.sum(dim=0)) if self.counts.numel() else []
