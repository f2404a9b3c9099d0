"""DS-AL: dual-stream analytic learning (doi 10.1609/aaai.v38i15.29670)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from lightning_vision.errors import ConfigError
from strategies.acil import ACIL
from strategies.nearest_mean import class_sums
from strategies.ridge_strategy import ridge_regression


class DSAL(ACIL):
    r"""ACIL and a second ridge regression that fits its residual (DS-AL, Zhuang et al. 2024, doi 10.1609/aaai.v38i15.29670).

    The main stream is :class:`strategies.ACIL` with W_m (M, C). The compensation stream regresses what the main stream
    leaves on another activation of the same expansion. In experience t with n images, after the main stream has learned
    them, with the expansion v W, one-hot targets Y (n, C) and regressors H_m and H_c (n, M):

    .. math:: H_m = \max(0, vW), \quad H_c = \tanh(vW), \quad R_t = \operatorname{PLC}(Y - H_m W_m)

    .. math:: W_c = \Big(\sum_t H_c^\top H_c + \gamma_c I\Big)^{-1} \sum_t H_c^\top R_t, \qquad
        \text{logit} = h_m W_m + \mathcal{C}\, h_c W_c

    PLC ("previous label cleansing") sets the columns of the classes without an image in experience t to 0. R_t needs
    W_m of the end of the experience, so it is found from sums, H_c^T R_t = PLC(H_c^T Y - H_c^T H_m W_m): the head does
    not depend on batches, the order of images within an experience or the number of processes. G and its counterpart take
    16 M^2 bytes (1.1 GB at M = 8,192), and 8 M^2 more while an experience is learned.

    Differences from the paper:
        - The authors' code takes the residual of each batch after the main stream has learned this batch, not the
          experience; its result depends on the cut into batches and equals this one if an experience is one batch.
        - PLC keeps all classes with an image in the experience. In class-incremental streams these are the new ones, as
          in the paper; a class that is seen again is compensated too.

    Args:
        expansion: M, 1 or more.
        gamma: Penalty of the main stream, above 0.
        compensation: C, the weight of the compensation stream, 0 or more; 0.6 in the paper for CIFAR-100, 1.5 for ImageNet.
        gamma_comp: gamma_c, penalty of the compensation stream, above 0.
        seed: Seed of W. None: the run's seed; a number fixes it in all runs.
    """

    class_axes: ClassVar[Mapping[str, int]] = {
        **ACIL.class_axes,
        "comp_targets": 0,
        "own_targets": 0,
        "own_counts": 0,
        "comp_weight": 0,
    }
    comp_gram: Tensor  # (M, M) float64, sum of H_c^T H_c
    comp_targets: Tensor  # (C, M) float64, sum of H_c^T R_t over the experiences that are finished, transposed
    cross: Tensor  # (M, M) float64, H_c^T H_m of the present experience; empty between experiences, as what follows
    own_targets: Tensor  # (C, M) float64, H_c^T Y of it, transposed
    own_counts: Tensor  # (C,) int64, its images
    comp_weight: Tensor  # (C, M) float64, W_c transposed; empty while the experience is learned

    def __init__(
        self,
        expansion: int = 8192,
        gamma: float = 0.1,
        compensation: float = 0.6,
        gamma_comp: float = 0.1,
        seed: int | None = None,
    ) -> None:
        super().__init__(expansion, gamma, seed)
        if not (0 <= compensation < float("inf") and 0 < gamma_comp < float("inf")):
            raise ConfigError(
                f"DSAL: expected compensation >= 0 and gamma_comp > 0; found {compensation}, {gamma_comp}."
            )
        self.compensation, self.gamma_comp = compensation, gamma_comp
        for name in ("comp_gram", "comp_targets", "cross", "own_targets", "own_counts", "comp_weight"):
            self.register_buffer(name, torch.empty(0, dtype=torch.int64 if name == "own_counts" else torch.float64))

    def absorb(self, v: Tensor, labels: Tensor, classes: int) -> None:
        """Add features to the sums of both streams."""
        super().absorb(v, labels, classes)
        expanded, m = self.expanded(v), self.expansion
        h_m, h_c = expanded.relu(), expanded.tanh()
        if not self.comp_gram.numel():
            self.comp_gram, self.comp_targets = v.new_zeros(m, m), v.new_zeros(classes, m)
        if not self.cross.numel():
            self.cross, self.own_targets = v.new_zeros(m, m), v.new_zeros(classes, m)
            self.own_counts = labels.new_zeros(classes)
        self.comp_gram.addmm_(h_c.T, h_c)
        self.cross.addmm_(h_c.T, h_m)
        sums, counts = class_sums(h_c, labels, classes)
        self.own_targets, self.own_counts = self.own_targets + sums, self.own_counts + counts
        self.comp_weight = v.new_empty(0)

    def residual_targets(self, weight: Tensor) -> Tensor:
        """The sum of H_c^T R_t (C, M) over all images so far, transposed, from W_m (C, M), transposed."""
        if not self.cross.numel():
            return self.comp_targets
        residual = self.own_targets - weight @ self.cross.T
        return self.comp_targets + residual.masked_fill((self.own_counts == 0)[:, None], 0.0)

    def compensate(self, targets: Tensor) -> Tensor:
        """W_c (C, M), transposed."""
        return ridge_regression(self.comp_gram, targets, self.gamma_comp, "DSAL: gamma_comp")

    def settle(self) -> None:
        """Solve for both heads, and forget what only the present experience's residual needs."""
        super().settle()
        if self.counts.numel():
            self.comp_targets = self.residual_targets(self.weight)
            for name in ("cross", "own_targets", "own_counts"):
                setattr(self, name, getattr(self, name).new_empty(0))
            self.comp_weight = self.compensate(self.comp_targets)

    def scores(self, v: Tensor) -> Tensor | None:
        """Logits (N, C) of both streams."""
        main = super().scores(v)
        if main is None:
            return None
        comp = self.comp_weight
        if not comp.numel():
            comp = self.compensate(self.residual_targets(self.solve(self.penalty())))
        return main + self.compensation * (self.expanded(v).tanh() @ comp.T)
