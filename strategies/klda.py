"""KLDA: linear discriminant analysis on random Fourier features (arXiv 2412.15571)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from lightning_vision.errors import ConfigError
from strategies.nearest_mean import class_sums, shift_of_means
from strategies.streaming_lda import StreamingLDA


class KLDA(StreamingLDA):
    r"""Linear discriminant analysis with an approximate Gaussian kernel, on a frozen backbone (KLDA, arXiv 2412.15571).

    With the penultimate feature v (D,), omega (D, M) drawn once from N(0, 2 gamma) and b (M,) from [0, 2 pi), random
    Fourier features (Rahimi and Recht 2007) approximate the kernel exp(-gamma |v - v'|^2) by phi(v)^T phi(v'):

    .. math:: \phi(v) = \sqrt{2 / M} \cos(v^\top \omega + b), \qquad
        \text{logit}_c = \phi^\top \Lambda \mu_c - \tfrac12 \mu_c^\top \Lambda \mu_c, \quad
        \Lambda = [(1-\varepsilon)\Sigma + \varepsilon \nu I]^{-1}

    mu_c (M,) are the class means of phi and Sigma (M, M) is its covariance within the classes, from float64 sums over all
    images so far, so the head does not depend on the order of images, batches or the number of processes. nu and eps are
    those of :class:`strategies.StreamingLDA`: eps is selected after each experience from the sums. Sigma takes 8 M^2 bytes
    (32 MB at M = 2,000; 200 MB at 5,000). There is no gradient, and the data of the base is included.

    Differences from the paper:
        - The authors invert the unscaled scatter by a pseudoinverse and use minus the Mahalanobis distance. This ranks the
          classes as eps -> 0 does; shrinkage also works with fewer images than M, and for rounded features.
        - The authors center each batch of a class on the mean so far, which equals the covariance within the classes only
          if a class is one batch.
        - M is 2,000; the paper's is 5,000. An ensemble over several draws (KLDA-E) is not included.

    Args:
        expansion: M, 1 or more.
        gamma: gamma of the kernel, above 0. It should be near 1 / |v - v'|^2 for two images; the paper tunes it for each
            backbone.
        shrinkage: eps, from 0 to 1. With 0, more images than M are needed. None: automatic selection.
        seed: Seed of omega and b. None: the run's seed; a number fixes it in all runs.
    """

    draws_nothing = False
    EARLIER_DEFAULTS: ClassVar[Mapping[str, object]] = {}
    projection: Tensor  # (D + 1, M) float32, omega and b; empty before the first image

    def __init__(
        self,
        expansion: int = 2000,
        gamma: float = 1e-3,
        shrinkage: float | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(shrinkage)
        if expansion < 1 or not 0 < gamma < float("inf"):
            raise ConfigError(f"KLDA: expected expansion >= 1 and gamma > 0; found {expansion}, {gamma}.")
        self.expansion, self.gamma, self.seed = expansion, gamma, seed
        self.register_buffer("projection", torch.empty(0))

    def fourier_features(self, v: Tensor) -> Tensor:
        """Phi (N, M) float64 of features v (N, D) float64."""
        omega, b = self.projection[:-1].double(), self.projection[-1].double()
        return math.sqrt(2 / self.expansion) * (v @ omega + b).cos()

    def absorb(self, v: Tensor, labels: Tensor, classes: int) -> None:
        """Add features to the class means and to the scatter within the classes."""
        if not self.counts.numel():
            generator, m = torch.Generator().manual_seed(self.draw_seed("KLDA features", self.seed)), self.expansion
            omega = math.sqrt(2 * self.gamma) * torch.randn(v.shape[1], m, generator=generator)
            b = 2 * math.pi * torch.rand(1, m, generator=generator)
            self.projection = torch.cat([omega, b]).to(v.device)
            self.scatter, self.sums, self.counts = v.new_zeros(m, m), v.new_zeros(classes, m), labels.new_zeros(classes)
        phi = self.fourier_features(v)
        sums, counts = class_sums(phi, labels, classes)
        centred = phi - (sums / counts.clamp(min=1)[:, None])[labels]
        shift = shift_of_means(self.sums, self.counts, sums, counts)
        self.scatter.addmm_(centred.T, centred).addmm_(shift.T, shift)  # (M, M): no copies of it
        self.sums, self.counts = self.sums + sums, self.counts + counts
        self.weight, self.bias = v.new_empty(0), v.new_empty(0)

    def scores(self, v: Tensor) -> Tensor | None:
        """Logits (N, C) of the discriminant."""
        return super().scores(self.fourier_features(v)) if self.counts.numel() else None
