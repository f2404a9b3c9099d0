"""Transforms of whole batches, such as MixUp and CutMix."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.transforms import v2

from lightning_vision.errors import ConfigError
from lightning_vision.images.transforms import Transforms, build_one, name_and_options


class Sometimes(nn.Module):
    """Mixes some batches, and leaves the others as they are, without a soft target.

    Args:
        mixing: Mixes a batch and its targets.
        p: The probability that it does.

    Raises:
        ConfigError: It is no probability.
    """

    def __init__(self, mixing: nn.Module, p: float) -> None:
        super().__init__()
        if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p <= 1:
            raise ConfigError(
                f"data.batch_transforms: expected p of {type(mixing).__name__}, the probability that a batch is mixed, from 0 "
                f"to 1, found {p!r}."
            )
        self.mixing, self.p = mixing, p

    def forward(self, image: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Images (B, 3, H, W), mixed or not, and the soft target (B, C) of mixed ones."""
        if float(torch.rand(())) >= self.p:
            return image, None
        mixed: tuple[torch.Tensor, torch.Tensor] = self.mixing(image, target)
        return mixed


def _within(transform: nn.Module) -> nn.Module:
    """The transform that is applied sometimes, or always."""
    return transform.mixing if isinstance(transform, Sometimes) else transform


class BatchTransforms:
    """Transforms of a whole training batch on the device, from uint8; one random draw applies to all its images.

    MixUp and CutMix of torchvision v2 mix pairs of images and return soft targets. The number of classes is passed with
    each batch, because a base may have more classes than the data. Beside their own options they take ``p``, the probability
    that a batch is mixed (default 1).

    Args:
        asked: See ``Transforms``.
        image_size: Side of the square images, in pixels.

    Raises:
        ConfigError: A name is not known, or an option is refused.
    """

    MIXING = ("MixUp", "CutMix")

    def __init__(self, asked: Transforms, image_size: int) -> None:
        key = "data.batch_transforms"
        items = [] if asked is None else [asked] if isinstance(asked, str | nn.Module) else list(asked)
        mixing: list[nn.Module] = []
        self.plain: list[nn.Module] = []
        for item in items:
            probability = None
            if not isinstance(item, nn.Module):
                name, options = name_and_options(item, key)
                name = {"mixup": "MixUp", "cutmix": "CutMix"}.get(name.lower(), name)
                if name.rpartition(".")[2] in self.MIXING:
                    probability = options.pop("p", None)
                item = {name: options}
            made = build_one(item, image_size, key)
            if probability is not None:
                made = [Sometimes(one, probability) for one in made]
            for one in made:
                (mixing if type(_within(one)).__name__ in self.MIXING else self.plain).append(one)
        self.mixing = v2.RandomChoice(mixing) if mixing else None
        numbers = {type(one).__name__: getattr(one, "num_classes", None) for one in map(_within, mixing)}
        self._pinned = {name: number for name, number in numbers.items() if isinstance(number, int)}

    def __bool__(self) -> bool:
        return bool(self.plain) or self.mixing is not None

    def change(self, image: torch.Tensor) -> torch.Tensor:
        """The images (B, 3, H, W) uint8 after all transforms except mixing."""
        for transform in self.plain:
            image = transform(image)
        return image

    def check_classes(self, num_classes: int) -> None:
        """Refuse an option ``num_classes`` that differs from the classifier's.

        Args:
            num_classes: C.

        Raises:
            ConfigError: They differ.
        """
        for name, pinned in self._pinned.items():
            if pinned != num_classes:
                raise ConfigError(
                    f"data.batch_transforms: {name} has num_classes={pinned}, but the classifier has {num_classes} "
                    "classes (including those of a base). Omit num_classes to use the classifier's."
                )

    def mix(
        self, image: torch.Tensor, label: torch.Tensor, num_classes: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Mix pairs of images.

        Args:
            image: (B, 3, H, W) float, normalised.
            label: (B,) int64.
            num_classes: C, of the classifier.

        Returns:
            The images and the soft target (B, C) float32; None where nothing was mixed.
        """
        if self.mixing is None or len(label) < 2:  # a single image has none to be mixed with
            return image, None
        mixed, target = self.mixing(image, nn.functional.one_hot(label, num_classes).float())
        return mixed, target
