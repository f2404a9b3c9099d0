"""Features and logits of images, batch by batch, computed once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from lightning_vision.array_types import Rows
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.datasets import SampleDataset
from lightning_vision.data.sample_table import names_of_files
from lightning_vision.features.cached_images import Images
from lightning_vision.features.checkpoint_features import CheckpointFeatures
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.trust.appearance import appearance
from lightning_vision.trust.image_folder import ImageFolder


@dataclass(frozen=True)
class Outputs:
    """Of one batch of B images, on the CPU."""

    index: Rows
    """(B,) rows of the sample table, or places in a folder of images."""
    label: Tensor
    """(B,) int64"""
    image: Tensor | None
    """(B, 3, H, W) uint8, as the network is given them; None if they were not asked for."""
    features: Tensor
    """(B, D) float32, what the last linear layer is given; (B, D') where the strategy has features of its own of another width."""
    logits: Tensor
    """(B, C) float32, as the learning strategy predicts them; -inf for classes that were not seen."""


def pass_images(
    features: CheckpointFeatures, images: Images, rows: Rows, what: str, with_images: bool = False
) -> Iterator[Outputs]:
    """The outputs of the classifier for rows of images, in their order; a batch is freed when the next is requested.

    Args:
        features: Of the classifier; an image passes the backbone only if its features are not cached.
        images: The datamodule, or a ``FolderImages``.
        rows: (N,)
        what: The images, for the progress bar.
        with_images: The images themselves are needed too.
    """
    model = features.model
    for passed in features.batches(images, rows, what, with_images):
        with torch.inference_mode():
            given = passed.features.to(model.device)
            logits, penultimate = model(given).float().cpu(), model.network.penultimate(given).float().cpu()
        yield Outputs(passed.index, passed.label, passed.image, penultimate, logits)


@dataclass(frozen=True)
class Gathered:
    """Features and appearance of N images."""

    index: Rows
    """(N,)"""
    label: Rows
    """(N,)"""
    features: npt.NDArray[np.float32]
    """(N, D)"""
    appearance: npt.NDArray[np.float32]
    """(N, 7), see ``appearance``; (N, 0) if the images were not asked for."""
    by_head: bool
    """Whether the strategy's scores are the logits of the network's head."""


def gather(model: ContinualClassifier, passed: Iterable[Outputs]) -> Gathered:
    """Collect the features of images, N x D float32; the images themselves are not kept.

    Raises:
        ValueError: There is no image.
    """
    index, label, features, looks = [], [], [], []
    by_head = True
    for outputs in passed:
        by_head = by_head and _by_head(model, outputs)
        index.append(outputs.index)
        label.append(outputs.label.numpy())
        features.append(outputs.features.numpy())
        nothing = torch.empty(len(outputs.label), 0)
        looks.append((nothing if outputs.image is None else appearance(outputs.image)).numpy())
    return Gathered(
        np.concatenate(index), np.concatenate(label), np.concatenate(features), np.concatenate(looks), by_head
    )


@dataclass(frozen=True)
class _Identities:
    digests: npt.NDArray[np.uint8]
    """(N, 16)"""


class FolderImages:
    """The images of a folder, opened by the options of a datamodule: with its evaluation transform.

    Args:
        folder: N images.
        datamodule: Its options are used.
        labels: (N,)
    """

    def __init__(self, folder: ImageFolder, datamodule: StreamDataModule, labels: Rows) -> None:
        self.seed, self.views, self.num_workers = datamodule.seed, datamodule.views, datamodule.num_workers
        self.feature_cache_gb = datamodule.feature_cache_gb
        self.samples, self.prepared = (
            pd.DataFrame({"path": names_of_files(folder.paths)}),
            _Identities(folder.inspection.digest),
        )
        transforms = (datamodule.train_transform, datamodule.eval_transform)
        self._dataset = SampleDataset(folder.files, labels, *transforms)

    def image_dataset(self) -> SampleDataset:
        """Loads and transforms the image of a row."""
        return self._dataset


def _by_head(model: ContinualClassifier, outputs: Outputs) -> bool:
    if outputs.features.shape[1] != model.network.classifier.in_features:
        return False
    with torch.inference_mode():
        own = model.network.classifier(outputs.features.to(model.device)).float().cpu()
    seen = torch.isfinite(outputs.logits)
    return torch.allclose(own[seen], outputs.logits[seen], rtol=1e-3, atol=1e-3)
