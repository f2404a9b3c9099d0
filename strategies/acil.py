"""ACIL: analytic class-incremental learning (arXiv 2205.14922)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_vision.errors import ConfigError
from strategies.ridge_strategy import RidgeStrategy


class ACIL(RidgeStrategy):
    r"""Ridge regression on a random expansion of a frozen backbone's features, gamma given (ACIL, arXiv 2205.14922).

    With the penultimate feature v (D,), W (D, M) drawn once from the uniform distribution on [-1/sqrt(D), 1/sqrt(D)],
    one-hot targets y (C,), the Gram matrix G (M, M) and the sums Q (M, C) over all images so far:

    .. math:: h = \max(0, v^\top W), \quad G = \sum h^\top h, \quad Q = \sum h^\top y, \quad
        \text{logit} = h\,(G + \gamma I)^{-1} Q

    The authors update the inverse recursively, batch by batch (their equations 9 and 10). The recursion is this
    regression exactly; with the sums the head does not depend on the order of images, batches or the number of
    processes. G takes 8 M^2 bytes (537 MB at M = 8,192). There is no gradient, and the data of the base is included. A
    class without an image has the logit -inf. The logits are not calibrated: they regress 0 and 1, so a softmax is nearly
    flat.

    Differences from the paper:
        - The base is trained as ``base_strategy`` says. The authors' code selects its best epoch by test accuracy.
        - A class that is seen again continues from its sums, as in the authors' G-ACIL.

    Args:
        expansion: M, 1 or more.
        gamma: Penalty of the regression, above 0. The published 0.1 is too small for few images: see docs/strategies.md.
        seed: Seed of W. None: the run's seed; a number fixes it in all runs.
    """

    option = "gamma"

    def __init__(self, expansion: int = 8192, gamma: float = 0.1, seed: int | None = None) -> None:
        super().__init__()
        if expansion < 1 or not 0 < gamma < float("inf"):
            raise ConfigError(
                f"{type(self).__name__}: expected expansion >= 1 and gamma > 0; found {expansion}, {gamma}."
            )
        self.expansion, self.gamma, self.seed = expansion, gamma, seed

    def draw(self, dimensions: int) -> Tensor:
        """W, distributed as the weights of ``torch.nn.Linear``."""
        generator = torch.Generator().manual_seed(self.draw_seed("ACIL expansion", self.seed))
        return (2 * torch.rand(dimensions, self.expansion, generator=generator) - 1) / math.sqrt(dimensions)

    def expanded(self, v: Tensor) -> Tensor:
        """V W (N, M) float64 of features v (N, D) float64."""
        return v @ self.projection.double()

    def regressors(self, v: Tensor) -> Tensor:
        """max(0, v W)."""
        return self.expanded(v).relu()

    def penalty(self) -> float:
        """Gamma."""
        return self.gamma
