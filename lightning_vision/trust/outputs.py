"""Features and logits of images, batch by batch, computed once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_vision.array_types import Rows
from lightning_vision.data.batch_order import EvalBatches
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.datasets import SampleDataset
from lightning_vision.data.loaders import make_loader
from lightning_vision.images.image_sources import FileImages
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.terminal.progress_bar import progress_bar
from lightning_vision.trust.appearance import appearance


@dataclass(frozen=True)
class Outputs:
    """Of one batch of B images, on the CPU."""

    index: Rows
    """(B,) rows of the sample table, or places in a folder of images."""
    label: Tensor
    """(B,) int64"""
    image: Tensor
    """(B, 3, H, W) uint8, as the network is given them."""
    features: Tensor
    """(B, D) float32, what the last linear layer is given."""
    logits: Tensor
    """(B, C) float32, as the learning strategy predicts them; -inf for classes that were not seen."""


def pass_images(model: ContinualClassifier, loader: DataLoader[Any], trainer: Trainer, what: str) -> Iterator[Outputs]:
    """Run each image through the classifier once, in the loader's order; a batch is freed when the next is requested.

    Args:
        model: Its mode and device are restored at the end, or after an error.
        loader: Of images, with the evaluation transform.
        trainer: Knows the device and the precision.
        what: The images, for the progress bar.
    """
    with (
        _evaluating(model, trainer.strategy.root_device),
        progress_bar(f"computing outputs of {what}", len(loader)) as advance,
    ):
        for batch in loader:
            image: Tensor = batch["image"]
            with torch.inference_mode(), trainer.precision_plugin.forward_context():
                features = model.network.features(_laid_out(model, image.to(model.device)))
                logits = model(features.float())
                given = model.network.penultimate(features.float())
            yield Outputs(batch["index"].numpy(), batch["label"], image, given.float().cpu(), logits.float().cpu())
            advance()


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
    """(N, 7), see ``appearance``."""
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
        looks.append(appearance(outputs.image).numpy())
    return Gathered(
        np.concatenate(index), np.concatenate(label), np.concatenate(features), np.concatenate(looks), by_head
    )


def table_loader(datamodule: StreamDataModule, rows: Rows) -> DataLoader[Any]:
    """The images of rows of the sample table, with the evaluation transform, in one view."""
    return _loader(datamodule.image_dataset(), rows, datamodule)


def folder_loader(
    datamodule: StreamDataModule, files: FileImages, labels: Rows, places: Rows | None = None
) -> DataLoader[Any]:
    """The images of files, with the datamodule's evaluation transform.

    Args:
        datamodule: Its evaluation transform, batch size and number of workers are used.
        files: N of them.
        labels: (N,)
        places: Those to load; None: all.
    """
    dataset = SampleDataset(files, labels, datamodule.train_transform, datamodule.eval_transform)
    return _loader(dataset, np.arange(len(files), dtype=np.int64) if places is None else places, datamodule)


def _by_head(model: ContinualClassifier, outputs: Outputs) -> bool:
    with torch.inference_mode():
        own = model.network.classifier(outputs.features.to(model.device)).float().cpu()
    seen = torch.isfinite(outputs.logits)
    return torch.allclose(own[seen], outputs.logits[seen], rtol=1e-3, atol=1e-3)


def _loader(dataset: SampleDataset, rows: Rows, datamodule: StreamDataModule) -> DataLoader[Any]:
    nowhere = np.full(len(dataset), -1, dtype=np.int64)
    return make_loader(dataset, EvalBatches(rows, nowhere, datamodule.batch_size), datamodule.num_workers)


def _laid_out(model: ContinualClassifier, image: Tensor) -> Tensor:
    normalised = model.network.normalise(image)
    return normalised.contiguous(memory_format=torch.channels_last) if model.channels_last else normalised


@contextmanager
def _evaluating(model: ContinualClassifier, device: torch.device) -> Iterator[None]:
    """The classifier in evaluation mode on a device; both are restored afterwards."""
    training = [module for module in model.modules() if module.training]
    before = model.device
    model.eval()
    model.to(device)
    try:
        yield
    finally:
        model.to(before)
        for module in training:
            module.training = True
