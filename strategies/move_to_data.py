"""Move-to-Data (arXiv 2006.07152)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy

DEFAULT_EPSILONS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


def move_to_data(weight: Tensor, features: Tensor, labels: Tensor, epsilon: float | Tensor) -> Tensor:
    r"""Move the rows of a linear classifier towards new features, sample by sample.

    For each sample n with feature v and class j, in order:

    .. math:: w_j \leftarrow w_j + \epsilon \left(\lVert w_j \rVert \frac{v}{\lVert v \rVert} - w_j\right)

    The norm of the row is computed again after each step. The arithmetic is float64, and the result is rounded once at
    the end, because float32 would lose small updates. A feature of length 0 has no effect. Rows of different classes
    are independent, so classes are updated in parallel, each in the order of its samples.

    Args:
        weight: (C, D), or (E, C, D) to move E copies by E epsilons in one pass.
        features: (N, D), in the stream's order.
        labels: (N,) int64 in [0, C).
        epsilon: The step, 0 to 1; (E,) for a weight of (E, C, D).

    Returns:
        The moved weight, of the shape, dtype and device of ``weight``. The inputs are not changed.

    Raises:
        ValueError: The shapes do not fit each other.
    """
    swept = weight if weight.dim() == 3 else weight[None]  # (E, C, D)
    eps = torch.as_tensor(epsilon, dtype=torch.float64, device=weight.device).reshape(-1, 1, 1)  # (E, 1, 1)
    if len(eps) != len(swept) or features.shape != (len(labels), swept.shape[2]):
        raise ValueError(
            f"Expected weight (C, D) with one epsilon or (E, C, D) with E, features (N, D), labels (N,); found weight "
            f"{tuple(weight.shape)}, {len(eps)} epsilon(s), features {tuple(features.shape)}, labels {tuple(labels.shape)}."
        )
    v = features.double()
    length = v.norm(dim=1, keepdim=True)
    moving = length[:, 0] != 0
    order = torch.argsort(labels[moving], stable=True)  # grouped by class, in order within
    rows, direction = labels[moving][order], (v[moving] / length[moving])[order]
    classes, counts = torch.unique_consecutive(rows, return_counts=True)  # (K,)
    starts = counts.cumsum(0) - counts
    w = swept[:, classes].double()  # (E, K, D), a copy
    for step in range(int(counts.max()) if len(counts) else 0):
        has = counts > step
        w_j, u = w[:, has], direction[starts[has] + step]  # the step-th sample of each class that has one
        w[:, has] = w_j + eps * (w_j.norm(dim=2, keepdim=True) * u - w_j)
    moved = swept.clone()
    moved[:, classes] = torch.where(eps == 0, swept[:, classes], w.to(weight.dtype))
    return moved if weight.dim() == 3 else moved[0]


def imprint(weight: Tensor, lengths: Tensor, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Initialise each class without a row with the direction of its first nonzero feature.

    Args:
        weight: (E, C, D).
        lengths: (C,), the rows' lengths at the start, 0 for a class without a row. A new row gets their mean.
        features: (N, D), in the stream's order.
        labels: (N,) int64.

    Returns:
        Weight and lengths with the new rows; the inputs are not changed.
    """
    has_direction = features.any(dim=1)  # a row that starts with length 0 could never move
    features, labels = features[has_direction], labels[has_direction]
    new = torch.unique(labels[lengths[labels] == 0]).tolist()
    if not new:
        return weight, lengths
    weight, lengths, known = weight.clone(), lengths.clone(), lengths[lengths > 0]
    length = known.mean() if len(known) else lengths.new_ones(())
    for j in new:
        weight[:, j] = F.normalize(features[labels == j][0], dim=0) * length
        lengths[j] = length
    return weight, lengths


class MoveToData(Strategy):
    r"""Move each class's row of the classifier towards the features of its new images (arXiv 2006.07152).

    For a new image of class j with penultimate feature v (D,): w_j <- w_j + eps (\|w_j\| v/\|v\| - w_j), see
    :func:`move_to_data`. Bias and backbone do not change, and there is no gradient. After n images of a class its old
    direction has the weight (1-eps)^n, so n*eps characterises an epsilon: it is recorded per class.

    A list of epsilons needs one pass: all heads (E, C, D) are updated with the same features, each from its own state.
    After each experience the best head on validation data becomes ``network.head`` (ties: the smaller epsilon).

    The equation is from a public implementation of the method, not from the text of the paper. Additions:
        - ``passes``: several passes through the new data.
        - A class without a row (class-incremental, or a base without the class) is imprinted: its row starts as the
          direction of its first feature, with the mean length of the existing rows (arXiv 1712.07136).

    Args:
        epsilon: The step, in [0, 1]; a list is swept. The default sweeps 1e-6 to 1e-1.
        passes: Number of passes through the new data.
    """

    kind = "closed_form"
    class_axes: ClassVar[Mapping[str, int]] = {"heads": 1, "lengths": 0, "counts": 0}
    draws_nothing = freezes_backbone = changes_classifier = True
    variant_key = "epsilon"
    heads: Tensor  # (E, C, D) float64, what each epsilon made of the classifier; empty before the first increment
    lengths: Tensor  # (C,) the rows' lengths at the start; 0 where a class has no row yet
    counts: Tensor  # (C,) int64, images that moved each class so far

    def __init__(self, epsilon: float | list[float] = list(DEFAULT_EPSILONS), passes: int = 1) -> None:  # noqa: B006
        super().__init__()
        steps = sorted({float(e) for e in (epsilon if isinstance(epsilon, list) else [epsilon])})
        if not steps or not all(0 <= e <= 1 for e in steps) or passes < 1:
            raise ConfigError(f"MoveToData: expected 0 <= epsilon <= 1, passes >= 1; found {epsilon!r}, {passes}.")
        self.passes, self.needs_validation = passes, len(steps) > 1
        self.variant_values = {f"epsilon={e}": e for e in steps}
        for name in ("heads", "lengths", "counts"):
            self.register_buffer(name, torch.empty(0))

    def before_experience(self, network: Network, experience: Experience) -> None:
        """Start the sweep from the classifier of the base."""
        if not experience.is_base and not self.heads.numel():
            weight = network.classifier.weight.detach()
            self.heads = weight.double().repeat(len(self.variant_values), 1, 1)
            self.lengths = weight.norm(dim=1) * network.seen
            self.counts = torch.zeros_like(network.seen, dtype=torch.int64)

    def update(self, network: Network, features: Tensor, labels: Tensor) -> None:
        """The step, for all epsilons at once; classes without a row are imprinted first."""
        v, epsilons = network.penultimate(features), self.heads.new_tensor([*self.variant_values.values()])
        self.heads, self.lengths = imprint(self.heads, self.lengths, v, labels)
        classes, rows = torch.unique(labels, return_inverse=True)  # the rest of the heads need not be copied
        self.heads[:, classes] = move_to_data(self.heads[:, classes], v, rows, epsilons)
        self.counts += torch.bincount(labels, minlength=len(self.counts))

    def predict(self, network: Network, features: Tensor) -> Tensor | Mapping[str, Tensor]:
        """Logits (N, C) of each epsilon's head."""
        if not self.heads.numel():
            return super().predict(network, features)
        v, bias = network.penultimate(features), network.classifier.bias
        return {name: F.linear(v, w.to(v), bias) for name, w in zip(self.variant_values, self.heads, strict=True)}

    def select_variant(self, network: Network, variant: str) -> None:
        """Make one epsilon's head the network's."""
        network.classifier.weight.data.copy_(self.heads[list(self.variant_values).index(variant)])

    def variant_facts(self, network: Network) -> dict[str, dict[str, list[float]]]:
        """n*epsilon per class (C,), for each epsilon."""
        return {name: {"n_epsilon": (self.counts * e).tolist()} for name, e in self.variant_values.items()}

    def notes(self, network: Network) -> list[str]:
        """Report the epsilons that shrank class rows to almost zero."""
        shrunk = (self.heads.norm(dim=-1) < 0.1 * self.lengths).sum(-1).tolist() if self.heads.numel() else []
        found = zip(self.variant_values, shrunk, strict=False)
        return [f"{name}: {n} class row(s) shrank below a tenth" for name, n in found if n]
