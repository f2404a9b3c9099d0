"""The options ``model.pixel_mean`` and ``model.pixel_std``: how pixels are normalised, if not as for the backbone's weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lightning_vision.errors import ConfigError
from lightning_vision.learning.backbones import BackboneFacts

CHANNELS = 3
Channels = tuple[float, float, float]


@dataclass(frozen=True)
class PixelOptions:
    """Mean and standard deviation of the pixels in [0, 1], one a channel; None: those of the backbone."""

    mean: Channels | None = None
    std: Channels | None = None

    @classmethod
    def read(cls, mean: Sequence[float] | float | None, std: Sequence[float] | float | None) -> PixelOptions:
        """Read the options.

        Raises:
            ConfigError: A value is none that pixels can be normalised with.
        """
        read = cls(_channels("model.pixel_mean", mean), _channels("model.pixel_std", std))
        if read.mean is not None and not all(0 <= value <= 1 for value in read.mean):
            raise ConfigError(
                f"model.pixel_mean: expected values from 0 to 1, found {mean}. Pixels are in [0, 1]: divide values of 0 to 255 "
                "by 255."
            )
        if read.std is not None and not all(0 < value <= 1 for value in read.std):
            raise ConfigError(
                f"model.pixel_std: expected values above 0 and at most 1, found {std}: pixels in [0, 1] are divided by it. "
                "Divide values of 0 to 255 by 255; 1 leaves the pixels as they are."
            )
        return read

    def over(self, facts: BackboneFacts) -> BackboneFacts:
        """The facts about a backbone with these values in place of its own."""
        return replace(facts, mean=self.mean or facts.mean, std=self.std or facts.std)


def _channels(name: str, given: Sequence[float] | float | None) -> Channels | None:
    """One value a channel."""
    if given is None:
        return None
    values = [given] * CHANNELS if isinstance(given, int | float) else list(given)
    if len(values) != CHANNELS or not all(isinstance(each, int | float) and math.isfinite(each) for each in values):
        raise ConfigError(
            f"{name}: expected one number, or {CHANNELS} for red, green and blue, found {given}; null takes those of the "
            "backbone."
        )
    red, green, blue = (float(each) for each in values)
    return red, green, blue
