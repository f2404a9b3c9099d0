"""The training images of a Trainer."""

from __future__ import annotations

from lightning.pytorch import Trainer

from lightning_vision.data.datasets import SampleDataset


def training_dataset(trainer: Trainer) -> SampleDataset:
    """The dataset of the present training loader.

    It is created for each stage, and its workers start with each epoch, so changes before an epoch take effect.

    Raises:
        TypeError: Features are trained on; a recipe that changes images declares ``needs_images``.
    """
    loader = trainer.train_dataloader
    dataset = None if loader is None else loader.dataset
    if not isinstance(dataset, SampleDataset):
        raise TypeError(f"Expected training images, found {type(dataset).__name__}.")
    return dataset
