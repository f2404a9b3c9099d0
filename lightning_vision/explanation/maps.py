"""Class-activation maps of a classifier's prediction, in batches, without changing the classifier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.errors import ConfigError
from lightning_vision.explanation.methods import GRADIENT, SCORE, check_method, make_extractor
from lightning_vision.explanation.options import MapOptions
from lightning_vision.explanation.target_layers import TargetLayer, find_target_layer, in_evaluation_mode
from lightning_vision.features.feature_function import FeatureFunction
from lightning_vision.images.apply_transform import seeded
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.strategy_features import check_follows_backbone

BACKBONE = "model.network.backbone"
BATCH_SIZE = 32
CPU_BATCH_SIZE = 8
"""Larger batches exceed a CPU's cache: mobilenetv2 at 224 makes 41 maps per second with 8, 25 with 32, 37 with 1."""


def class_maps(
    model: ContinualClassifier,
    images: Tensor,
    classes: Tensor,
    method: str = "GradCAM",
    layer: str | None = None,
    *,
    batch_size: int = BATCH_SIZE,
    seed: int = 0,
) -> Tensor:
    """Class-activation maps of the score that the strategy predicts with.

    The score is the strategy's own (class means, an analytic classifier, a selected variant), which may differ from the
    linear head. A map is scaled to [0, 1] by its minimum and maximum and enlarged bilinearly. Without evidence for the
    class, or if the gradient is not finite, it is zero everywhere (see ``empty_maps``). The model does not change: weights,
    modes, hooks, gradients, counters and random state.

    Args:
        model: The classifier; it may be frozen, in training mode, or within ``torch.inference_mode``.
        images: (N, 3, H, W), uint8 or normalised.
        classes: (N,) or (N, K): the class of each map.
        method: One of ``methods.KNOWN``.
        layer: The backbone's target layer; None: see ``find_target_layer``.
        batch_size: Number of images per batch; at most 8 on a CPU.
        seed: Seed of the noise in SmoothGradCAMpp and SSCAM, which also depends on the batches.

    Returns:
        (N, H, W) or (N, K, H, W) float32 on the images' device.

    Raises:
        ConfigError: The method is unknown or does not fit this classifier, or there is no target layer.
    """
    check_method(method)
    check_follows_backbone(model.learner, "a map")
    network = model.network
    target = find_target_layer(network.backbone, images.shape[-1], layer)
    columns = classes if classes.dim() == 2 else classes[:, None]
    if not len(images):
        return images.new_zeros(*classes.shape, *images.shape[-2:], dtype=torch.float32)
    parts = []
    if model.device.type == "cpu":
        batch_size = min(batch_size, CPU_BATCH_SIZE)
    with _scorer(model, target, method) as scorer:
        if method == "CAM":
            _check_average(scorer, images[:1], target)
        for part, wanted in zip(torch.split(images, batch_size), torch.split(columns, batch_size), strict=True):
            image = _ready(model, part)
            coarse = seeded(lambda: _coarse(scorer, image, wanted, method, target, batch_size), seed)  # noqa: B023 - called here
            parts.append(F.interpolate(_to_unit(coarse), images.shape[-2:], mode="bilinear", align_corners=False))
    maps = torch.cat(parts).clamp(0, 1).float().to(images.device)
    return maps if classes.dim() == 2 else maps[:, 0]


@torch.no_grad()
def class_scores(model: ContinualClassifier, images: Tensor) -> Tensor:
    """The scores that ``class_maps`` explains, (N, C) in evaluation mode, for images (N, 3, H, W), uint8 or normalised.

    Their softmax is the confidence; classes never seen have -inf. The images are not counted in the record.
    """
    scorer = _Scorer(model)
    with in_evaluation_mode(scorer):
        scores: Tensor = scorer(_ready(model, images))
    return scores.float()


def make_maps(model: ContinualClassifier, images: Tensor, classes: Tensor, options: MapOptions) -> Tensor:
    """``class_maps`` with ``MapOptions``."""
    return class_maps(
        model, images, classes, options.method, options.layer, batch_size=options.batch_size, seed=options.seed
    )


def empty_maps(maps: Tensor) -> int:
    """Number of maps (..., H, W) that are zero everywhere."""
    return int((maps.flatten(-2).amax(dim=-1) == 0).sum())


class _Scorer(nn.Module):
    """Images to the scores (N, C) of the strategy's prediction; classes never seen have -inf.

    Nothing before the target layer is stored for the gradient: its output is detached and starts a new graph.
    """

    def __init__(self, model: ContinualClassifier) -> None:
        super().__init__()
        self.model = model
        self.follows = False

    def begin(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        """The hook of the target layer."""
        if not self.follows:
            return None
        torch.set_grad_enabled(True)  # until the forward's no_grad ends
        return output.detach().requires_grad_().clone()  # a copy, because it may be changed in place

    def forward(self, image: Tensor) -> Tensor:
        model, network = self.model, self.model.network
        self.follows = torch.is_grad_enabled()
        with torch.no_grad():
            features = FeatureFunction(network, model.learner)(
                image
            )  # not network.features: that counts images for the record
        features = features.to(network.classifier.weight.dtype)
        with torch.autocast(features.device.type, enabled=False):
            scores = model.learner.predict(network, features)
            if isinstance(scores, Mapping):
                scores = scores[model.picked_variant] if model.picked_variant else next(iter(scores.values()))
        return network.mask_unseen(scores)


def _ready(model: ContinualClassifier, images: Tensor) -> Tensor:
    """Images normalised, on the model's device, in its memory format."""
    # The copy of a tensor that inference mode made can take part in gradients; the tensor itself cannot.
    image = model.network.normalise(images.to(model.device)).clone()
    return image.contiguous(memory_format=torch.channels_last) if model.channels_last else image


@contextmanager
def _scorer(model: ContinualClassifier, target: TargetLayer, method: str) -> Iterator[_Scorer]:
    """The scorer in evaluation mode, ready for gradients."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(method in GRADIENT))
        stack.enter_context(torch.autocast(model.device.type, enabled=False))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        scorer = _Scorer(model)
        stack.enter_context(in_evaluation_mode(scorer))
        # Before torchcam's own hooks, which must see the output of this one.
        layer = model.network.backbone.get_submodule(target.name)
        stack.callback(layer.register_forward_hook(scorer.begin).remove)
        yield scorer


def _coarse(
    scorer: _Scorer, image: Tensor, classes: Tensor, method: str, target: TargetLayer, batch_size: int
) -> Tensor:
    """The maps (N, K, h, w) of one batch, before scaling."""
    with make_extractor(method, scorer, BACKBONE, target, batch_size) as extractor:
        scores = scorer(image)
        if method in GRADIENT and not scores.requires_grad:
            name = type(scorer.model.learner).__name__
            raise ConfigError(
                f"method: {method} needs the gradient of the prediction, which {name} does not have. Use "
                f"{', '.join(SCORE)}, which need no gradient."
            )
        # All columns use one forward pass; methods with their own forward passes keep no graph.
        options: dict[str, Any] = {"retain_graph": True} if method in GRADIENT and classes.shape[1] > 1 else {}
        maps = [extractor(column.tolist(), scores, normalized=False, **options)[0] for column in classes.unbind(dim=1)]
    return torch.stack(maps, dim=1)


def _to_unit(maps: Tensor) -> Tensor:
    """Maps (N, K, h, w) scaled to [0, 1]; zero if they are constant or not finite."""
    maps = maps.detach().double()
    low, high = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
    usable = (high > low) & torch.isfinite(high - low)
    return torch.where(usable, (maps - low) / torch.where(usable, high - low, 1.0), 0.0)


def _check_average(scorer: _Scorer, image: Tensor, target: TargetLayer) -> None:
    """Refuse CAM if the features are not the average of the target layer, or the prediction is not the linear head's.

    Raises:
        ConfigError: CAM does not apply.
    """
    network, seen = scorer.model.network, []
    hook = network.backbone.get_submodule(target.name).register_forward_hook(lambda *called: seen.append(called[2]))
    try:
        scores = scorer(_ready(scorer.model, image))
        features = target.layout.to_map(seen[-1]).mean(dim=(2, 3))
    finally:
        hook.remove()
    linear = isinstance(network.head, nn.Linear) and features.shape[1] == network.head.in_features
    if not linear or not torch.allclose(network.mask_unseen(network.head(features)), scores, rtol=1e-3, atol=1e-4):
        raise ConfigError(
            "method: CAM needs a linear head after averaging the target layer, and this classifier predicts "
            "differently. Use GradCAM."
        )
