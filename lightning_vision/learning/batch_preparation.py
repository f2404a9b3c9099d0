"""What happens to a batch on the device: normalisation and transforms of the whole batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lightning_vision.data.batch import Batch
from lightning_vision.errors import ConfigError
from lightning_vision.images.batch_transforms import BatchTransforms
from lightning_vision.learning.network import Network


def check_batch(batch: Any) -> None:
    """Check a batch of a loader that may be a user's own.

    Raises:
        ConfigError: It is no ``Batch``.
    """
    needed = ("label", "index", "valid")
    if isinstance(batch, Mapping) and all(name in batch for name in needed):
        return
    found = ", ".join(map(repr, batch)) if isinstance(batch, Mapping) else f"a {type(batch).__name__}"
    raise ConfigError(
        f"Expected batches of a StreamDataModule, mappings with 'image', {', '.join(map(repr, needed))}; found {found}. Give the "
        "Trainer a datamodule, or a loader of datamodule.evaluation_loader('test'); for other images call classifier(images), "
        "which returns logits, or run.predict(images)."
    )


def normalised(batch: Batch, network: Network, channels_last: bool) -> Batch:
    """The batch with its images, including those of the memory, as the backbone expects them."""
    if "features" not in batch:
        image = network.normalise(batch["image"])
        batch["image"] = image.contiguous(memory_format=torch.channels_last) if channels_last else image
    if "memory" in batch:
        batch["memory"] = normalised(batch["memory"], network, channels_last)
    return batch


def transformed(batch: Batch, transform: BatchTransforms, network: Network, channels_last: bool) -> Batch:
    """The training batch after its transforms, normalised."""
    batch["image"] = transform.change(batch["image"])
    batch = normalised(batch, network, channels_last)
    batch["image"], target = transform.mix(batch["image"], batch["label"], network.num_classes)
    if target is not None:
        batch["target"] = target
    return batch
