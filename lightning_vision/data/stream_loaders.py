"""The data that a stage uses, and the loaders that serve it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torchvision.transforms import v2

from lightning_vision.array_types import Rows
from lightning_vision.data.batch_order import Draw, EvalBatches, TrainBatches
from lightning_vision.data.datasets import FeatureDataset, SampleDataset
from lightning_vision.data.loaders import make_feature_loader, make_loader
from lightning_vision.data.reservoir import Reservoir
from lightning_vision.data.stream import Experience, Stream

FEATURES_AT_ONCE = 512
"""Features of a batch in an evaluation, unless ``batch_size`` is larger: they take little memory, and products of large matrices are
several times faster than those of 16 or 32 rows."""


class HowEntered(TypedDict, total=False):
    """Options for serving an experience, beside its number and the seed."""

    shuffle: bool
    """A new order each epoch and augmentation (default); otherwise the stream's order and neither."""
    memory: Tensor | None
    """(M,) rows of the past from which images are drawn for each batch."""
    memory_size: int
    """Number of these images in each batch."""
    reservoir: Callable[[], Reservoir | None] | None
    """The memory that is filled image by image, as it stands; it replaces ``memory``."""
    memory_draws: int
    """Number of independent draws of ``memory_size`` images from it for each batch."""
    epoch: int
    """The first epoch of training, for a run that resumes."""
    start_batch: int
    """Number of batches of that epoch that are done already."""
    all_seen: bool
    """Serve the data of all experiences up to this one."""
    rows: Rows | None
    """(N,) the rows to train on in place of the experience's own."""
    features: bool
    """Serve features for training too, if ``read_features`` is set."""
    augment: bool
    """False: use the evaluation transform in training too."""


@dataclass(frozen=True)
class Entered:
    """The data that the training and validation loaders serve; see ``HowEntered``."""

    experience: int
    seed: int
    shuffle: bool = True
    memory: Tensor | None = None
    memory_size: int = 0
    reservoir: Callable[[], Reservoir | None] | None = None
    memory_draws: int = 1
    epoch: int = 0
    start_batch: int = 0
    all_seen: bool = False
    rows: Rows | None = None
    features: bool = False
    augment: bool = True

    def __getstate__(self) -> dict[str, Any]:
        """The state without the reservoir, a method of the strategy: processes that load images need it not."""
        return {**self.__dict__, "reservoir": None}

    def served(self, stream: Stream) -> list[Experience]:
        """The experiences whose data is served."""
        return list(stream)[0 if self.all_seen else self.experience : self.experience + 1]

    def rows_to_train(self, stream: Stream) -> Rows:
        """The training rows, in the stream's order, without those of the memory."""
        if self.rows is not None:
            return self.rows
        rows: Rows = np.concatenate([item.indices for item in self.served(stream)])
        return rows

    def rows_to_validate(self, stream: Stream) -> Rows:
        """The validation rows."""
        rows: Rows = np.concatenate([item.val_indices for item in self.served(stream)])
        return rows


@dataclass(frozen=True)
class StreamLoaders:
    """Creates the loaders of one process.

    Args:
        stream: The experiences.
        images: The dataset of images, with another evaluation transform if one is given.
        read_features: Features of rows, given the seed of each draw (see ``FeatureDataset``); None: images are served.
        views: Of each row, among which the seed of a draw chooses its features; 0: there is but one.
        batch_size: Images of a batch on one process.
        num_workers: Processes that load images.
        sampler: balanced: an epoch of training shows all classes equally often.
        rank: Number of this process.
        world_size: Number of processes.
    """

    stream: Stream
    images: Callable[[v2.Compose | None], SampleDataset]
    read_features: Callable[[Rows, Rows], Tensor] | None
    views: int
    batch_size: int
    num_workers: int
    sampler: Literal["none", "balanced"]
    rank: int = 0
    world_size: int = 1

    @property
    def labels(self) -> Rows:
        """(N,) the label of every row of the sample table."""
        return self.images(None).labels

    def training(self, now: Entered) -> DataLoader[Any]:
        """The training data of a stage; its batch sampler is a ``TrainBatches``."""
        batches = TrainBatches(
            now.rows_to_train(self.stream),
            self._experience_of_row(),
            self.batch_size,
            self.rank,
            self.world_size,
            now.seed,
            now.experience,
            now.shuffle,
            None if now.memory is None else now.memory.detach().cpu().numpy().astype(np.int64),
            now.memory_size,
            now.reservoir,
            now.memory_draws,
            self.labels if self.sampler == "balanced" else None,
            # A seed for each row takes longer than all else of a batch of features, and chooses nothing where there is one view.
            now.augment and not (self._serves_features(now.features) and not self.views),
        )
        batches.set_epoch(now.epoch)
        batches.set_start(now.start_batch)
        return self._loader(batches, features=now.features)

    def ordered(self, experience: int, rows: Rows | None = None) -> DataLoader[Any]:
        """The training data of an experience, or some rows, with the evaluation transform, in the stream's order, striped."""
        batches = TrainBatches(
            self.stream[experience].indices if rows is None else rows,
            self._experience_of_row(),
            self.batch_size,
            self.rank,
            self.world_size,
            experience=experience,
            shuffle=False,
        )
        return self._loader(batches)

    def evaluation(self, rows: Rows, transform: v2.Compose | None = None) -> DataLoader[Any]:
        """Each row once, with the evaluation transform, or with another one."""
        size = self.batch_size if self.read_features is None else max(self.batch_size, FEATURES_AT_ONCE)
        batches = EvalBatches(rows, self._experience_of_row(), size, self.rank, self.world_size)
        return self._loader(batches, transform)

    def _experience_of_row(self) -> Rows:
        """(N,) the experience of each row of the sample table; -1 for a row without one."""
        experience_of: Rows = np.full(len(self.labels), -1, dtype=np.int64)
        for item in self.stream:
            for rows in (item.indices, item.val_indices, item.test_indices):
                experience_of[rows] = item.index
        return experience_of

    def _serves_features(self, features: bool) -> bool:
        """Whether a loader that may serve features does."""
        return features and self.read_features is not None

    def _loader(
        self, batches: Sampler[list[Draw]], transform: v2.Compose | None = None, features: bool = True
    ) -> DataLoader[Any]:
        if self.read_features is not None and self._serves_features(features):
            return make_feature_loader(FeatureDataset(self.read_features, self.labels), batches)
        return make_loader(self.images(transform), batches, self.num_workers)
