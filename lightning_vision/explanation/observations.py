"""Predictions and confidences of many images, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_vision.array_types import Rows
from lightning_vision.data.batch import Batch
from lightning_vision.data.batch_order import EvalBatches
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.loaders import make_loader
from lightning_vision.explanation.maps import class_scores
from lightning_vision.features.checkpoint_features import CheckpointFeatures
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.terminal.progress_bar import progress_bar


@dataclass(frozen=True)
class Observations:
    """Predictions for N images."""

    row: Rows
    """(N,) rows of the sample table."""
    label: Rows
    """(N,)"""
    predicted: Rows
    """(N,)"""
    confidence: npt.NDArray[np.float32]
    """(N,) the probability of the predicted class."""
    true_confidence: npt.NDArray[np.float32]
    """(N,) that of the true class."""

    @property
    def wrong(self) -> npt.NDArray[np.bool_]:
        """(N,) whether the prediction is not the label."""
        wrong: npt.NDArray[np.bool_] = self.predicted != self.label
        return wrong

    def at(self, rows: Rows) -> Rows:
        """The positions of some rows of the sample table, which must be among those observed; ``row`` ascends."""
        return np.searchsorted(self.row, rows)


def batches_of(datamodule: StreamDataModule, rows: Rows, batch_size: int, annotations: bool = False) -> Iterator[Batch]:
    """Rows of the sample table as batches, with the evaluation transform, in the order given.

    Args:
        datamodule: Their data.
        rows: (N,)
        batch_size: Maximum number of images per batch.
        annotations: Whether batches have boxes and saliency maps.
    """
    dataset = datamodule.image_dataset()
    dataset.annotations = annotations
    none = np.zeros(len(datamodule.samples), dtype=np.int64)  # the experience of a row is not needed here
    yield from make_loader(dataset, EvalBatches(rows, none, batch_size), datamodule.num_workers)


def observe(features: CheckpointFeatures, rows: Rows, what: str) -> Observations:
    """The predictions of a checkpoint for rows of the sample table, from features.

    Args:
        features: Of the classifier; cached ones need no image.
        rows: (N,) ascending.
        what: The images, for the progress bar.
    """
    passed = features.batches(features.datamodule, rows, what)
    return _observed(rows, ((each.label, scores_from(features.model, each.features)) for each in passed))


def observe_images(
    model: ContinualClassifier, datamodule: StreamDataModule, rows: Rows, batch_size: int, title: str
) -> Observations:
    """The predictions for rows of the sample table, from the images themselves.

    Args:
        model: The classifier; its state is not changed.
        datamodule: Its data.
        rows: (N,) ascending.
        batch_size: Number of images per batch.
        title: Title of the progress bar.
    """
    with progress_bar(title, -(-len(rows) // batch_size)) as advance:

        def scored() -> Iterator[tuple[Tensor, Tensor]]:
            for batch in batches_of(datamodule, rows, batch_size):
                yield batch["label"], class_scores(model, batch["image"])
                advance()

        return _observed(rows, scored())


@torch.no_grad()
def scores_from(model: ContinualClassifier, features: Tensor) -> Tensor:
    """The scores (N, C) of the strategy's prediction for features (N, D); see ``class_scores``."""
    scores: Tensor = model(features.to(model.device))
    return scores.float()


def _observed(rows: Rows, scored: Iterable[tuple[Tensor, Tensor]]) -> Observations:
    """Predictions from labels (B,) and scores (B, C), batch by batch."""
    found = []
    for label, scores in scored:
        probability = scores.softmax(dim=1).cpu()
        confidence, predicted = probability.max(dim=1)
        found.append((label, predicted, confidence, probability.gather(1, label[:, None])[:, 0]))
    whole = [torch.cat(part).numpy() for part in zip(*found, strict=True)]
    return Observations(rows, *whole)
