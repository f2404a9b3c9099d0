"""RanPAC: ridge regression on randomly projected features, or on the features themselves (arXiv 2307.02251)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from strategies.nearest_mean import class_sums, classes_without_data
from strategies.queued_strategy import QueuedStrategy

CANDIDATES = tuple(10.0**power for power in range(-8, 9))
HELD_OUT = 0.2
PERIODS = 1000.0
TOLERANCE = 1e-3
SOLVABLE = 1e-10  # of |G|: below, rounding of G to float64 would move the solution by more than 1e-5


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


def ridge_regression(gram: Tensor, targets: Tensor, ridge: float) -> Tensor:
    r"""The ridge regression W_o = (G + lambda I)^-1 Q, transposed.

    Args:
        gram: (M, M) float64, G.
        targets: (C, M) float64, Q transposed: per class the sum of its samples' h.
        ridge: lambda, above 0.

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
            f"RanPAC: ridge {ridge:g} is too small for these features: the matrix is singular. Expected {smallest:.0e} "
            "or more, or null for automatic selection."
        )
    return torch.cholesky_solve(targets.T, factor).T


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


class RanPAC(QueuedStrategy):
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
    class_axes: ClassVar[Mapping[str, int]] = {"targets": 1, "counts": 1, "weight": 0}
    # (D, M) float32, W; empty before the first image, as all that follow. Its first column is the direction by which
    # images are held out; without a projection there is but this one.
    projection: Tensor
    grams: Tensor  # (2, M, M) float64, G of the images that lambda is fitted on and of those held out
    targets: Tensor  # (2, C, M) float64, Q transposed, likewise
    counts: Tensor  # (2, C) int64, likewise
    weight: Tensor  # (C, M) float64, the head; empty while the experience is learned
    picked: Tensor  # () float64, its lambda

    def __init__(self, projections: int | None = 2000, ridge: float | None = None, seed: int | None = None) -> None:
        super().__init__()
        if (projections is not None and projections < 1) or not (ridge is None or 0 < ridge < float("inf")):
            raise ConfigError(
                "RanPAC: expected projections >= 1 (or null for none) and ridge > 0 (or null for automatic "
                f"selection); found {projections}, {ridge}."
            )
        self.projections, self.ridge, self.seed = projections, ridge, seed
        self.draws_nothing = projections is None and ridge is not None  # what is held out then decides nothing
        for name in ("projection", "grams", "targets", "counts", "weight", "picked"):
            self.register_buffer(name, torch.empty(0, dtype=torch.int64 if name == "counts" else torch.float64))

    def absorb(self, v: Tensor, labels: Tensor, classes: int) -> None:
        """Add features to G and Q of their part."""
        if not self.counts.numel():
            d, m = v.shape[1], self.projections or v.shape[1]
            generator = torch.Generator().manual_seed(self.draw_seed("RanPAC projection", self.seed))
            self.projection = torch.randn(d, self.projections or 1, generator=generator).to(v.device)
            self.grams, self.targets = v.new_zeros(2, m, m), v.new_zeros(2, classes, m)
            self.counts = labels.new_zeros(2, classes)
        held = held_out(v, self.projection[:, 0].double())
        for part, mine in enumerate((~held, held)):
            h = self.regressors(v[mine])
            self.grams[part].addmm_(h.T, h)  # in place: M can be large
            sums, counts = class_sums(h, labels[mine], classes)
            self.targets[part] += sums
            self.counts[part] += counts
        self.weight = v.new_empty(0)

    def regressors(self, v: Tensor) -> Tensor:
        """The regressors h (N, M) float64 of features v (N, D) float64."""
        return v if self.projections is None else (v @ self.projection.double()).relu()

    def solve(self) -> tuple[Tensor, Tensor]:
        """The head (C, M) of all images so far, and its lambda ()."""
        gram, targets = self.grams.sum(dim=0), self.targets.sum(dim=0)
        fitted, held = self.counts.sum(dim=1).tolist()
        ridge = self.ridge
        if ridge is None and fitted and held:
            ridge = pick_ridge(self.grams[0], self.targets[0], self.grams[1], self.targets[1], held)
        if ridge is None:  # too few images to hold one out: the mean eigenvalue
            ridge = float(gram.diagonal().mean().clamp(min=CANDIDATES[0]))
        return ridge_regression(gram, targets, ridge), gram.new_tensor(ridge)

    def settle(self) -> None:
        """Select lambda and solve for the head."""
        if self.counts.numel():
            self.weight, self.picked = self.solve()

    def scores(self, v: Tensor) -> Tensor | None:
        """Logits (N, C) of the regression."""
        if not self.counts.numel():
            return None
        weight = self.weight if self.weight.numel() else self.solve()[0]
        return (self.regressors(v) @ weight.T).masked_fill(self.counts.sum(dim=0) == 0, -torch.inf)

    def notes(self, network: Network) -> Sequence[str]:
        """Report lambda and the classes that cannot be predicted."""
        if not self.picked.numel():
            return []
        return [
            f"ridge {float(self.picked):g}, {int(self.counts[1].sum())} of {int(self.counts.sum())} images held out",
            *classes_without_data(network, self.counts.sum(dim=0)),
        ]
