"""The panels of chosen images: maps of the predicted and the true class, and a similar training image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from lightning_vision.array_types import Rows
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.explanation.cases import Positions, drawn_rows, nearest
from lightning_vision.explanation.gallery import Case, Panel
from lightning_vision.explanation.maps import empty_maps, make_maps
from lightning_vision.explanation.observations import Observations, batches_of
from lightning_vision.explanation.options import MapOptions
from lightning_vision.explanation.overlay import overlay
from lightning_vision.features.checkpoint_features import CheckpointFeatures
from lightning_vision.learning.classifier import ContinualClassifier

LARGEST = 256
"""Longest side of stored images in pixels, which is enough for galleries."""


@dataclass(frozen=True)
class Mapped:
    """Chosen images and their maps, by row of the sample table."""

    images: dict[int, Tensor]
    """uint8 (3, H, W), the network's input, reduced to ``LARGEST``."""
    maps: dict[int, Tensor]
    """(1 or 2, H, W): maps of the predicted class and, for errors, of the true class; reduced in the same way."""

    @property
    def empty(self) -> tuple[int, int]:
        """The number of empty maps and of all maps."""
        return sum(empty_maps(maps) for maps in self.maps.values()), sum(len(maps) for maps in self.maps.values())


@dataclass(frozen=True)
class Neighbour:
    """A training image."""

    path: str
    image: Tensor
    """uint8 (3, H, W)."""
    cosine: float
    """Similarity of its features and those of the image."""


def map_cases(
    model: ContinualClassifier, datamodule: StreamDataModule, seen: Observations, at: Positions, options: MapOptions
) -> Mapped:
    """Images and maps of the predicted and the true class.

    Args:
        model: The classifier; it is not changed.
        datamodule: Its data.
        seen: Its predictions.
        at: Positions in ``seen``, in any order and possibly repeated.
        options: How maps are made.
    """
    images, maps = {}, {}
    for batch in batches_of(datamodule, seen.row[np.unique(at)], options.batch_size):
        place = seen.at(batch["index"].numpy())
        classes = torch.from_numpy(np.stack([seen.predicted[place], seen.label[place]], axis=1))
        made = make_maps(model, batch["image"], classes, options)
        wrong = seen.wrong[place].tolist()
        for row, image, pair, both in zip(batch["index"].tolist(), batch["image"], made, wrong, strict=True):
            images[row], maps[row] = reduced(image), reduced(pair if both else pair[:1])
    return Mapped(images, maps)


def reduced(image: Tensor) -> Tensor:
    """An image or a map (C, H, W), reduced to a longer side of at most ``LARGEST``."""
    height, width = image.shape[-2:]
    scale = LARGEST / max(height, width)
    if scale >= 1:
        return image
    smaller: Tensor = resize(image, [round(scale * height), round(scale * width)], antialias=True)
    return smaller


def find_neighbours(
    features: CheckpointFeatures,
    seen: Observations,
    at: Positions,
    training: Rows,
    most: int,
    seed: int,
) -> dict[int, Neighbour]:
    """By row, the most similar training image of the predicted class for each chosen image.

    Args:
        features: Of the classifier, and its data.
        seen: Its predictions.
        at: Positions in ``seen``.
        training: Rows to search.
        most: Maximum number of rows per class, drawn by the seed.
        seed: See ``most``.
    """
    datamodule = features.datamodule
    at = np.unique(at)
    labels = datamodule.samples["label"].to_numpy()
    rows = [training[labels[training] == label] for label in np.unique(seen.predicted[at])]
    few = [drawn_rows(own, labels[own], most, seed) for own in rows]
    others = np.sort(np.concatenate([*few, np.empty(0, dtype=np.int64)]))
    # An image is most similar to itself.
    others = np.setdiff1d(others, seen.row[at])
    mine = features.of_unit_length(datamodule, seen.row[at], "the cases")
    theirs = features.of_unit_length(datamodule, others, "training images")
    places, cosines = nearest(mine, seen.predicted[at], theirs, labels[others])
    found = {}
    for row, place, cosine in zip(seen.row[at].tolist(), places.tolist(), cosines.tolist(), strict=True):
        if place >= 0:
            near = int(others[place])
            path = str(datamodule.samples["path"].iloc[near])
            found[row] = Neighbour(path, reduced(datamodule.preview(near)), cosine)
    return found


def show_case(
    seen: Observations,
    position: int,
    path: str,
    class_names: Sequence[str],
    mapped: Mapped,
    neighbour: Neighbour | None = None,
) -> Case:
    """A case with its panels: the image, its maps, and the neighbour if there is one."""
    row = int(seen.row[position])
    true, predicted = class_names[seen.label[position]], class_names[seen.predicted[position]]
    confidence, doubt = float(seen.confidence[position]), float(seen.true_confidence[position])
    image, maps = mapped.images[row], mapped.maps[row]
    panels = [Panel("image", image), map_panel(image, maps[0], f"for {predicted}", confidence)]
    if true != predicted:
        panels.append(map_panel(image, maps[1], f"for {true}", doubt))
    if neighbour is not None:
        panels.append(Panel(f"training, {predicted}, cosine {neighbour.cosine:.2f}", neighbour.image))
    return Case(row, path, true, predicted, confidence, tuple(panels))


def map_panel(image: Tensor, heat: Tensor, words: str, confidence: float) -> Panel:
    """A map over its image; the caption of an empty map is "no evidence"."""
    nothing = "no evidence" if not bool(heat.any()) else f"{100 * confidence:.1f} %"
    return Panel(f"{words}: {nothing}", overlay(image, heat))
