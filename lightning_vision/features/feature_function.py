"""What computes the features of images: the backbone, or a strategy in its own way."""

from __future__ import annotations

import hashlib
import inspect
import sys
from functools import cache, cached_property
from typing import Any
from uuid import uuid4

from torch import Tensor

from lightning_vision.class_path import arguments_of, class_path, plain
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy
from lightning_vision.learning.strategy_features import feature_width, has_own_features


class FeatureFunction:
    """Computes features, and says what they depend on beside the backbone.

    Args:
        network: Has the backbone.
        strategy: The strategy that uses the features; None: they are the backbone's.
        image_size: Side of the images in pixels; needed for a strategy with features of its own.
    """

    def __init__(self, network: Network, strategy: Strategy | None = None, image_size: int = 0) -> None:
        self.network, self.image_size = network, image_size
        self.strategy = strategy if strategy is not None and has_own_features(strategy) else None

    def __call__(self, image: Tensor) -> Tensor:
        """Features (N, D') of normalised images (N, 3, H, W); the caller counts the images."""
        if self.strategy is None:
            features: Tensor = self.network.backbone(image)
            return features
        passed = self.network.backbone_images
        features = self.strategy.features(self.network, image)
        self.network.backbone_images = passed
        return features

    @property
    def name(self) -> str:
        """For a key of measurements; empty for the backbone."""
        return "" if self.strategy is None else f" {class_path(self.strategy)}"

    @cached_property
    def described(self) -> dict[str, Any]:
        """The entry of a feature table's key: a strategy's class, options and code; empty for the backbone's features."""
        if self.strategy is None:
            return {}
        parameters = inspect.signature(type(self.strategy)).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        options = plain({**defaults, **arguments_of(self.strategy)})
        return {
            "features": {
                "class": class_path(self.strategy),
                "options": options,
                "code": _code_hash(type(self.strategy)),
            }
        }

    @cached_property
    def width(self) -> int:
        """D', the length of the features."""
        if self.strategy is None:
            return self.network.facts.num_features
        return feature_width(self.strategy, self.network, self.image_size)


def _code_hash(cls: type[Strategy]) -> str:
    """A hash of the files that define a class and its bases: features of former code must not be found again."""
    modules = [each.__module__ for each in cls.__mro__[: cls.__mro__.index(Strategy)]]
    return hashlib.sha256(b"\n".join(map(_source, modules))).hexdigest()


@cache
def _source(module: str) -> bytes:
    """The text of a module; of one that has no file a mark that no other process makes."""
    try:
        return inspect.getsource(sys.modules[module]).encode()
    except (OSError, TypeError):  # typed into a session
        return uuid4().bytes
