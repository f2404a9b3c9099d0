"""The data loaders of a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from lightning_vision.data.batch import Batch
from lightning_vision.data.batch_order import Draw
from lightning_vision.data.datasets import FeatureDataset, SampleDataset, collate
from lightning_vision.errors import UserError


class StreamLoader(DataLoader[Any]):
    """A DataLoader that starts with its first batch, and that raises the errors of workers with their own text.

    Lightning creates the iterator before it calls ``set_epoch``; workers that started then would load the batches of
    epoch 0 in a run that resumes in a later epoch.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """The batches.

        Raises:
            UserError: A worker raised it; the text is without the traceback that torch adds.
        """
        try:
            yield from super().__iter__()
        except UserError as error:
            name = f"{type(error).__module__}.{type(error).__qualname__}: "
            raise type(error)(str(error).rpartition(name)[2].rstrip()) from error


def make_feature_loader(dataset: FeatureDataset, batches: Iterable[list[Draw]]) -> DataLoader[Any]:
    """A loader of features, without workers: sending a batch between processes takes longer than reading it."""
    generator = torch.Generator()
    return StreamLoader(dataset, batch_sampler=batches, collate_fn=_as_it_is, generator=generator)


def _as_it_is(batch: Any) -> Any:
    return batch


def make_loader(dataset: SampleDataset, batches: Iterable[list[Draw]], num_workers: int) -> DataLoader[Any]:
    """A loader of images."""
    return StreamLoader(
        dataset,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=False,
        # The loader draws a seed for its workers; drawn from torch's own generator, it would change dropout.
        generator=torch.Generator(),
    )
