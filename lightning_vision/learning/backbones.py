"""Builds backbones: those of timm by name, and the few that timm does not have.

timm is imported when a backbone is built, not before: importing it takes seconds, which ``--help`` should not cost.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.error import URLError

import torch
from safetensors import SafetensorError
from torch import nn

from lightning_vision.errors import ConfigError
from lightning_vision.learning.cifar_resnet import CIFAR10_MEAN, CIFAR10_STD, CIFAR_WIDTHS, make_cifar_resnet
from lightning_vision.storage.hub import QuickToGiveUp
from lightning_vision.terminal.wording import near

# Depth, cardinality and width of the ResNeXt of arXiv 1805.00932 (weakly supervised, "WSL") that timm does not name.
# 829 M parameters; weights from the WSL release, as a local file.
RESNEXT: dict[str, dict[str, Any]] = {
    "resnext101_32x48d": {"layers": (3, 4, 23, 3), "cardinality": 32, "base_width": 48}
}

# What timm, its hub, torch and safetensors raise when weights cannot be fetched, read or fitted.
LOADING_ERRORS = (OSError, URLError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError)


@dataclass(frozen=True)
class BackboneFacts:
    """What the rest of the program must know about a backbone."""

    name: str
    num_features: int
    """D, the length of a feature vector."""
    mean: tuple[float, float, float]
    """Per channel, for images in [0, 1]."""
    std: tuple[float, float, float]


def build_backbone(
    name: str,
    *,
    pretrained: bool,
    weights: str | Path | None = None,
    image_size: int,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
) -> tuple[nn.Module, BackboneFacts]:
    """Build a backbone without its classification layer.

    Args:
        name: A timm model name, or a name in ``RESNEXT`` or ``CIFAR_WIDTHS``.
        pretrained: Load the published weights (from ``weights`` when given, else through timm from its hub).
        weights: A local weight file (safetensors or a state dict), for any backbone.
        image_size: Side of the square images, given to backbones whose input size is fixed when they are built.
        drop_rate: Dropout inside the backbone.
        drop_path_rate: Stochastic depth.

    Returns:
        The module, whose ``forward`` maps (N, 3, H, W) to features (N, D), and its facts.

    Raises:
        ConfigError: The name is unknown, the weights are not available, or the options do not fit the backbone.
    """
    import timm
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    if weights is not None and not Path(weights).is_file():
        raise ConfigError(
            f"model.backbone_weights names {str(weights)!r}, which is not a file. Give the path of a local weight file."
        )
    if name in RESNEXT:
        model = _build_resnext(name, pretrained, weights, drop_rate)
        return model, BackboneFacts(name, int(model.num_features), IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    if name in CIFAR_WIDTHS:
        model = _build_cifar_resnet(name, pretrained, weights, drop_rate or drop_path_rate)
        return model, BackboneFacts(name, 8 * CIFAR_WIDTHS[name], CIFAR10_MEAN, CIFAR10_STD)
    if not timm.is_model(name.split(".")[0]) and not name.startswith(("hf_hub:", "hf-hub:", "local-dir:")):
        own = [*RESNEXT, *CIFAR_WIDTHS]
        known = [*timm.list_models(), *own]
        raise ConfigError(
            f"Unknown backbone {name!r}: expected a timm model name or one of {', '.join(own)}. "
            f"Similar names: {', '.join(near(name, known, 5)) or 'none'}. `python -c 'import timm; print(timm.list_models())'` prints all {len(known)}."
        )
    options: dict[str, Any] = {"num_classes": 0, "drop_rate": drop_rate}
    if drop_path_rate:
        options["drop_path_rate"] = drop_path_rate
    if weights is not None:
        options["pretrained_cfg_overlay"] = {"file": str(weights)}
    if input_size_is_fixed(name) is True:
        options["img_size"] = image_size
    load = pretrained or weights is not None
    try:
        with QuickToGiveUp(load and weights is None):
            model = timm.create_model(name, pretrained=load, **options)
    except (*LOADING_ERRORS, TypeError) as error:
        raise _explain(error, name, load, weights) from error
    cfg = getattr(model, "pretrained_cfg", {}) or {}
    num_features = _measure_features(model, name, image_size)
    mean = tuple(cfg.get("mean", IMAGENET_DEFAULT_MEAN))
    std = tuple(cfg.get("std", IMAGENET_DEFAULT_STD))
    if len(mean) == 1:
        mean, std = mean * 3, std * 3
    return model, BackboneFacts(name, num_features, mean, std)


def _measure_features(model: nn.Module, name: str, image_size: int) -> int:
    """Measure D: timm's ``num_features`` is the width before the last hidden layer that some backbones have.

    Raises:
        ConfigError: The backbone cannot take images of this size, or gives no feature vector.
    """
    training = model.training
    try:
        with torch.no_grad():
            features = model.eval()(torch.zeros(1, 3, image_size, image_size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ConfigError(
            f"{name} cannot take images of {image_size} pixels: {' '.join(str(error).split())[:300]}. Choose another data.image_size."
        ) from error
    finally:
        model.train(training)
    if features.dim() != 2:
        raise ConfigError(
            f"{name} gives features of shape {tuple(features.shape)}; expected one vector per image. Choose another backbone."
        )
    return int(features.shape[1])


def input_size_is_fixed(name: str) -> bool:
    """Whether timm builds this backbone for one input size (ViT and its kin)."""
    from timm.models import get_pretrained_cfg

    cfg = get_pretrained_cfg(name)
    return bool(cfg is not None and cfg.fixed_input_size)


def _build_resnext(name: str, pretrained: bool, weights: str | Path | None, drop_rate: float) -> Any:
    from timm.models import load_state_dict
    from timm.models.resnet import Bottleneck, ResNet

    if pretrained and weights is None:
        raise ConfigError(
            f"{name} has no weights to download: expected a local file of the WSL release. "
            "Give it as model.backbone_weights, or set model.pretrained: false."
        )
    model = ResNet(cast(Any, Bottleneck), num_classes=0, drop_rate=drop_rate, **RESNEXT[name])
    if weights is not None:
        try:
            state = load_state_dict(str(weights), weights_only=True)
            model.load_state_dict({key: value for key, value in state.items() if not key.startswith("fc.")})
        except LOADING_ERRORS as error:
            raise _explain(error, name, True, weights) from error
    return model


def _build_cifar_resnet(name: str, pretrained: bool, weights: str | Path | None, drop: float) -> nn.Module:
    from timm.models import load_state_dict

    if pretrained and weights is None:
        raise ConfigError(
            f"{name} has no published weights. Set model.pretrained: false, or give a local file as model.backbone_weights."
        )
    if drop:
        raise ConfigError(f"{name} has no dropout: set model.drop_rate and model.drop_path_rate to 0.")
    model = make_cifar_resnet(CIFAR_WIDTHS[name])
    if weights is not None:
        try:
            model.load_state_dict(load_state_dict(str(weights), weights_only=True))
        except LOADING_ERRORS as error:
            raise _explain(error, name, True, weights) from error
    return model


def _explain(error: Exception, name: str, pretrained: bool, weights: str | Path | None) -> ConfigError:
    text = " ".join(str(error).split())[:400] or type(error).__name__
    if weights is not None:
        return ConfigError(f"The weights in {weights} could not be loaded into {name}: {text}")
    if pretrained and "No pretrained weights exist" in text:
        return ConfigError(
            f"timm has no pretrained weights for {name}. Set model.pretrained: false, or give model.backbone_weights."
        )
    if pretrained and not isinstance(error, TypeError):
        return ConfigError(
            f"The pretrained weights of {name} could not be fetched ({type(error).__name__}: {text}). Expected a network "
            "or weights fetched before. Connect, or give a local file as model.backbone_weights, or set model.pretrained: false."
        )
    return ConfigError(f"The backbone {name} cannot be built with these options: {text}")
