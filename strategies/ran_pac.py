"""RanPAC: ridge regression on randomly projected features, or on the features themselves (arXiv 2307.02251)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from strategies.ridge_strategy import SOLVABLE, RidgeStrategy, ridge_regression

CANDIDATES = tuple(10.0**power for power in range(-8, 9))
HELD_OUT = 0.2
PERIODS = 1000.0
TOLERANCE = 1e-3


def held_out(features: Tensor, direction: Tensor) -> Tensor:
    r"""Select a fifth of the samples, each by its own feature only.

    A sample is held out if :math:`1000\, \langle v, r \rangle / \lVert v \rVert` has a fractional part below 0.2. This
    does not depend on order, batches or processes, and copies of an image are on one side. A hash of the feature's
    bytes would not work, because the last bits of a feature change with the batch size. Here a change of 1e-7 affects
    one sample in some thousands.

    Args:
        features: (N, D) float64, v.
        direction: (D,) float64, r, standard normal.

    Returns:
        (N,) bool.
    """
    length = features.norm(dim=1).clamp(min=torch.finfo(features.dtype).tiny)
    phase: Tensor = (PERIODS * (features @ direction) / length).remainder(1.0)
    return phase < HELD_OUT


def pick_ridge(gram: Tensor, targets: Tensor, held_gram: Tensor, held_targets: Tensor, held_count: int) -> float:
    r"""Select the lambda with the smallest squared error on the held-out part.

    The error of one-hot targets Y needs only sums of the held-out samples:

    .. math:: \lVert H W_o - Y \rVert^2 = \operatorname{tr}(W_o^\top G' W_o) - 2 \operatorname{tr}(W_o^\top Q') + N'

    Candidates are 10^-8, ..., 10^8. Candidates below 1e-10 |G| are excluded, because the solution in float64 would
    depend on the order of samples. Of the candidates whose error is within a thousandth of the smallest, the largest is
    selected, so that rounding has no influence if the error hardly depends on lambda.

    Args:
        gram: (M, M) float64, G of the samples that are not held out.
        targets: (C, M) float64, their Q transposed.
        held_gram: (M, M) float64, G' of the held-out samples.
        held_targets: (C, M) float64, their Q' transposed.
        held_count: N'.
    """
    smallest = SOLVABLE * float(torch.linalg.matrix_norm(gram + held_gram))
    candidates = [ridge for ridge in CANDIDATES if ridge >= smallest] or [CANDIDATES[-1]]
    errors = []
    for ridge in candidates:
        w = ridge_regression(gram, targets, ridge)
        error = ((w @ held_gram) * w).sum() - 2 * (w * held_targets).sum() + held_count
        errors.append(float(error) / held_count)
    good_enough = min(errors) * (1 + TOLERANCE) + 1e-6
    return max(ridge for ridge, error in zip(candidates, errors, strict=True) if error <= good_enough)


class RanPAC(RidgeStrategy):
    r"""Ridge regression on a fixed random projection of a frozen backbone's features (RanPAC, arXiv 2307.02251).

    With the penultimate feature v (D,), W (D, M) drawn once from N(0, 1), one-hot targets y (C,), the Gram matrix G
    (M, M) and the sums Q (M, C) over all images so far:

    .. math:: h = \max(0, v^\top W), \quad G = \sum h^\top h, \quad Q = \sum h^\top y, \quad
        \text{logit} = h\,(G + \lambda I)^{-1} Q

    lambda is selected after each experience from 10^-8, ..., 10^8 by the squared error on a fifth of all images so far,
    of the regression on the others (:func:`held_out`, :func:`pick_ridge`). The head then uses all images. G and Q are
    float64 sums, stored separately for the two parts, so the head does not depend on the order of images or the number
    of processes. They take 16 M^2 bytes (64 MB at M = 2,000; 1.6 GB at 10,000). There is no gradient, and the data of
    the base is included. A class without an image has the logit -inf. The logits are not calibrated: they regress 0 and
    1, so a softmax is nearly flat.

    Without a projection (the paper's ablation) h = v and M = D: ridge regression on the features without a rectifier.

    Differences from the paper:
        - The adaptation of the backbone in the first session ("phase 1") is that of ``base_strategy``.
        - The authors select lambda on the last fifth of the current experience's images.
        - M is 2,000; the paper's results are for 10,000.

    Args:
        projections: M, or None for no projection.
        ridge: lambda, above 0, or None for automatic selection.
        seed: Seed of the projection and of the held-out part. None: the run's seed; a number fixes it in all runs.
    """

    EARLIER_DEFAULTS: ClassVar[Mapping[str, object]] = {"seed": 0}
    # Of the buffers of a ridge regression, the first column of W is the direction by which images are held out; without a
    # projection there is but this one. The first part of G, Q and the counts is what lambda is fitted on.
    picked: Tensor  # () float64, the head's lambda
    option = "ridge"
    remedy = ", or null for automatic selection"

    def __init__(self, projections: int | None = 2000, ridge: float | None = None, seed: int | None = None) -> None:
        super().__init__()
        if (projections is not None and projections < 1) or not (ridge is None or 0 < ridge < float("inf")):
            raise ConfigError(
                "RanPAC: expected projections >= 1 (or null for none) and ridge > 0 (or null for automatic "
                f"selection); found {projections}, {ridge}."
            )
        self.projections, self.ridge, self.seed = projections, ridge, seed
        self.draws_nothing = projections is None and ridge is not None  # what is held out then decides nothing
        self.register_buffer("picked", torch.empty(0, dtype=torch.float64))

    def draw(self, dimensions: int) -> Tensor:
        """W, or without a projection the direction by which images are held out."""
        generator = torch.Generator().manual_seed(self.draw_seed("RanPAC projection", self.seed))
        return torch.randn(dimensions, self.projections or 1, generator=generator)

    def parts(self, v: Tensor) -> Sequence[Tensor | slice]:
        """Those that lambda is fitted on, and those held out."""
        held = held_out(v, self.projection[:, 0].double())
        return ~held, held

    def regressors(self, v: Tensor) -> Tensor:
        """max(0, v W), or v without a projection."""
        return v if self.projections is None else (v @ self.projection.double()).relu()

    def penalty(self) -> float:
        """The lambda that was given, or that is selected on the images so far."""
        fitted, held = self.counts.sum(dim=1).tolist()
        if self.ridge is not None:
            return self.ridge
        if fitted and held:
            return pick_ridge(self.grams[0], self.targets[0], self.grams[1], self.targets[1], held)
        # too few images to hold one out: the mean eigenvalue
        return float(self.grams.sum(dim=0).diagonal().mean().clamp(min=CANDIDATES[0]))

    def settle(self) -> None:
        """Select lambda and solve for the head."""
        if self.counts.numel():
            ridge = self.penalty()
            self.weight = self.solve(ridge)
            self.picked = self.weight.new_tensor(ridge)

    def notes(self, network: Network) -> Sequence[str]:
        """Report lambda and the classes that cannot be predicted."""
        if not self.picked.numel():
            return []
        return [
            f"ridge {float(self.picked):g}, {int(self.counts[1].sum())} of {int(self.counts.sum())} images held out",
            *super().notes(network),
        ]
