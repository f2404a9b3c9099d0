"""What happens to a batch on the device: normalisation and transforms of the whole batch."""

from __future__ import annotations

import torch

from lightning_vision.data.batch import Batch
from lightning_vision.images.batch_transforms import BatchTransforms
from lightning_vision.learning.network import Network


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
