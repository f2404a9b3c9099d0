"""The options from which a network is built."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lightning_vision.learning.backbones import build_backbone
from lightning_vision.learning.network import Network
from lightning_vision.learning.pixel_options import PixelOptions


@dataclass(frozen=True)
class NetworkOptions:
    """The options from which a network is built; see ``ContinualClassifier``."""

    backbone: str
    pretrained: bool
    backbone_weights: str | None
    drop_rate: float
    drop_path_rate: float
    head_hidden: int
    head_dropout: float
    label_smoothing: float
    channels_last: bool
    compile: bool
    pixels: PixelOptions

    def build(self, num_classes: int, image_size: int) -> Network:
        """Build the network for C classes and square images with sides of ``image_size`` pixels.

        Raises:
            ConfigError: The backbone cannot be built with these options.
        """
        module, facts = build_backbone(
            self.backbone,
            pretrained=self.pretrained,
            weights=self.backbone_weights,
            image_size=image_size,
            drop_rate=self.drop_rate,
            drop_path_rate=self.drop_path_rate,
        )
        facts = self.pixels.over(facts)
        network = Network(module, facts, num_classes, head_hidden=self.head_hidden, head_dropout=self.head_dropout)
        network.label_smoothing = self.label_smoothing
        if self.channels_last:
            network.backbone.to(memory_format=torch.channels_last)
        if self.compile:
            network.backbone.compile()
            network.compiled = True
        return network
