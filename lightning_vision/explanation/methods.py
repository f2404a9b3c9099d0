"""Methods of class-activation maps by name: torchcam's, with two corrections."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchcam import methods

from lightning_vision.errors import ConfigError
from lightning_vision.explanation.target_layers import TargetLayer
from lightning_vision.terminal.wording import nearest_first

GRADIENT = ("GradCAM", "GradCAMpp", "XGradCAM", "LayerCAM", "SmoothGradCAMpp", "FinerCAM")
"""They use the gradient of a class's score."""
SCORE = ("ScoreCAM", "SSCAM", "ISCAM")
"""They use the scores of masked images: hundreds of forward passes per image, and no gradient."""
WEIGHTS = ("CAM",)
"""It uses the weights of a linear head after averaging the target layer."""
KNOWN = (*GRADIENT, *SCORE, *WEIGHTS)
NOT_HERE = {
    "RefineCAM": "it combines the maps of several layers",
    "LeGrad": "torchcam supports it only for torchvision's ViT",
}


def check_method(method: str) -> None:
    """Refuse an unknown method.

    Raises:
        ConfigError: The method is unknown; the message lists the known ones, similar names first.
    """
    if method in KNOWN:
        return
    if method in NOT_HERE:
        raise ConfigError(
            f"method: {method} cannot be used here: {NOT_HERE[method]}. Known methods: {', '.join(KNOWN)}."
        )
    asked = method.replace("++", "pp").replace("-", "").replace("_", "").replace(" ", "")
    raise ConfigError(
        f"method: there is no {method!r}. Known methods, similar names first: {', '.join(nearest_first(asked, KNOWN))}."
    )


class GradCAMpp(methods.GradCAMpp):
    """Grad-CAM++ as published: torchcam (0.5.0) divides only a copy of alpha's numerator.

    alpha_ij = g_ij^2 / (2 g_ij^2 + g_ij^3 sum_ab A_ab), weight = sum_ij alpha_ij ReLU(g_ij), with A (N, C, h, w) the
    activations and g the gradients (arXiv 1710.11063, equation 19, for the exponential of the score).
    """

    def _get_weights(self, class_idx: Any, scores: Any, *args: Any, **options: Any) -> list[Tensor]:
        self._backprop(scores, class_idx, **options)
        weights = []
        for a, g in zip(self.hook_a, self.hook_g, strict=True):
            below = 2 * g**2 + g**3 * a.sum(dim=(2, 3), keepdim=True)
            alpha = torch.where(below != 0, g**2 / torch.where(below != 0, below, 1.0), 0.0)
            weights.append((alpha * g.relu()).sum(dim=(2, 3)))
        return weights


class FinerCAM(methods.FinerCAM):
    """Finer-CAM (arXiv 2501.11309) among the classes seen: torchcam (0.5.0) also compares with those of score -inf.

    They have no gradient, but the mean over the most similar classes is divided by their number too.
    """

    def _reference_indices(self, comparison_idx: Any, scores: Tensor, targets: Any, target_indices: Tensor) -> Tensor:
        nearest: Tensor = super()._reference_indices(comparison_idx, scores, targets, target_indices)
        others = int(torch.isfinite(scores).any(dim=0).sum()) - 1
        return nearest[:, : max(1, others)]


def make_extractor(method: str, scorer: nn.Module, prefix: str, target: TargetLayer, batch_size: int) -> Any:
    """Attach torchcam's extractor of this name to a network; use it in a ``with`` statement, which removes it.

    Args:
        method: One of ``KNOWN``.
        scorer: Maps images (N, 3, H, W) to scores (N, C).
        prefix: The backbone's name within it.
        target: The target layer.
        batch_size: Number of masked images at once, for ``SCORE``.
    """
    layer = f"{prefix}.{target.name}" if target.name else prefix
    options: dict[str, Any] = {"reshape_transform": target.layout.to_map}
    if method in SCORE:
        options["batch_size"] = batch_size
    if method == "CAM":
        return methods.CAM(scorer, layer, "model.network.head", **options)
    own = {"GradCAMpp": GradCAMpp, "FinerCAM": FinerCAM}
    return (own.get(method) or getattr(methods, method))(scorer, layer, **options)
