"""Predictions, confidences and features of many images, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.array_types import Rows
from lightning_vision.data.batch import Batch
from lightning_vision.data.batch_order import EvalBatches
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.loaders import make_loader
from lightning_vision.explanation.maps import class_scores
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


def observe(
    model: ContinualClassifier, datamodule: StreamDataModule, rows: Rows, batch_size: int, title: str
) -> Observations:
    """The predictions for rows of the sample table.

    Args:
        model: The classifier; its state is not changed.
        datamodule: Its data.
        rows: (N,) ascending.
        batch_size: Number of images per batch.
        title: Title of the progress bar.
    """
    found = []
    with progress_bar(title, len(rows)) as advance:
        for batch in batches_of(datamodule, rows, batch_size):
            probability = class_scores(model, batch["image"]).softmax(dim=1).cpu()
            confidence, predicted = probability.max(dim=1)
            true = probability.gather(1, batch["label"][:, None])[:, 0]
            found.append((batch["label"], predicted, confidence, true))
            for _ in range(len(predicted)):
                advance()
    whole = [torch.cat(part).numpy() for part in zip(*found, strict=True)]
    return Observations(rows, *whole)


@torch.inference_mode()
def features_of(
    model: ContinualClassifier, datamodule: StreamDataModule, rows: Rows, batch_size: int, title: str
) -> Tensor:
    """Features (N, D) of length 1, float32 on the CPU, of rows of the sample table; the model is in evaluation mode."""
    found = [torch.empty(0, model.network.facts.num_features)]
    with progress_bar(title, len(rows)) as advance:
        for batch in batches_of(datamodule, rows, batch_size):
            image = model.network.normalise(batch["image"].to(model.device))
            found.append(F.normalize(model.network.features(image).float(), dim=1).cpu())
            for _ in range(len(image)):
                advance()
    return torch.cat(found)
