"""One prediction from several views of each image in evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F  # noqa: N812 - torchvision's own custom

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import ConfigError
from lightning_vision.learning.classifier import ContinualClassifier, Predict
from lightning_vision.learning.recipe import Recipe
from lightning_vision.recipes.image_size import with_room

VIEWS = ("flips", "five_crop", "ten_crop")
MEANS = ("logits", "probabilities")


class TestTimeAugmentation(Recipe):
    """Predict each image from several views; validation, evaluation and prediction use their mean.

    Crops are taken from the four corners and the center of an image of 256/224 times their size (as in Krizhevsky et
    al., NeurIPS 2012). The recipe works with every learning strategy, including closed forms, and with each of its
    variants. Evaluation takes as many times longer as there are views, and does not use the feature cache.

    Args:
        views: flips (2 views: the image and its mirror image), five_crop, or ten_crop (these and their mirror images).
        mean: logits averages logits; probabilities averages the probabilities among the classes seen.

    Raises:
        ConfigError: An option is unknown.
    """

    changes_evaluation = True

    def __init__(
        self,
        views: Literal["flips", "five_crop", "ten_crop"] = "flips",
        mean: Literal["logits", "probabilities"] = "probabilities",
    ) -> None:
        if views not in VIEWS:
            raise ConfigError(f"TestTimeAugmentation.views: expected one of {', '.join(VIEWS)}, found {views!r}.")
        if mean not in MEANS:
            raise ConfigError(f"TestTimeAugmentation.mean: expected one of {', '.join(MEANS)}, found {mean!r}.")
        self.views, self.mean = views, mean

    def before_run(self, model: ContinualClassifier, datamodule: StreamDataModule) -> None:
        """Show more of each image, and predict by views."""
        size, mask = datamodule.image_size, model.network.mask_unseen
        whole = datamodule.eval_transform
        datamodule.test_transform = whole if self.views == "flips" else with_room(whole, size)

        def predict_views(predict: Predict, image: Tensor) -> Tensor | Mapping[str, Tensor]:
            found: dict[str, list[Tensor]] = {}  # by variant; the one of a strategy without any has no name
            for view in views_of(image, self.views, size):
                logits = predict(view)
                for name, each in logits.items() if isinstance(logits, Mapping) else [("", logits)]:
                    found.setdefault(name, []).append(each)
            means = {name: self._mean(logits, mask) for name, logits in found.items()}
            return means[""] if means.keys() == {""} else means

        model.augmented_prediction = predict_views

    def _mean(self, logits: Sequence[Tensor], mask: Callable[[Tensor], Tensor]) -> Tensor:
        return mean_logits(logits) if self.mean == "logits" else mean_probabilities([mask(each) for each in logits])


def views_of(image: Tensor, views: str, size: int) -> list[Tensor]:
    """The views of images (N, 3, H, W), each (N, 3, H', W').

    Args:
        image: For crops with room around ``size``.
        views: See ``TestTimeAugmentation``.
        size: Side of a crop, in pixels.
    """
    if views == "flips":
        return [image, image.flip(3)]
    crops = F.five_crop(image, [size, size]) if views == "five_crop" else F.ten_crop(image, [size, size])
    return list(crops)


def mean_logits(logits: Sequence[Tensor]) -> Tensor:
    """(N, C) from V times (N, C)."""
    return torch.stack(list(logits)).mean(dim=0)


def mean_probabilities(logits: Sequence[Tensor]) -> Tensor:
    """Logarithm of the mean probabilities (N, C) from V times logits (N, C); -inf stays -inf."""
    logs = torch.stack([each.float().log_softmax(dim=1) for each in logits])
    return logs.logsumexp(dim=0) - math.log(len(logits))
