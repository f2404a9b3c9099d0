"""The base of all datamodules: a concrete one reads a disk layout into a sample table, and all else is shared here."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from lightning_vision.decoding import decode
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.loading import EvalBatches, SampleDataset, TrainBatches, make_loader
from lightning_vision.samples import SPLITS, Rows, check_samples, listed, split_hash, split_samples
from lightning_vision.scenarios import InstanceIncremental, Scenario


@dataclass(frozen=True)
class Entered:
    """What the training loader serves."""

    experience: int
    seed: int
    shuffle: bool = True
    memory: Rows | None = None
    memory_size: int = 0
    epoch: int = 0
    start_batch: int = 0


class StreamDataModule(LightningDataModule, ABC):
    """A stream of experiences from a sample table.

    A concrete datamodule writes ``read_samples``; one whose rows are not picture files writes ``load_image`` too.
    What these need must be set before ``super().__init__(...)``, which reads the table, splits it and builds the
    stream.

    Args:
        root: Folder of the data; paths in the table are relative to it.
        batch_size: Pictures of a batch on one process.
        num_workers: Processes that load pictures, for each process that trains; results do not depend on it.
        image_size: Side of the square pictures, in pixels.
        val_fraction: Share of the training data cut off for validation, where there is no official validation set.
        test_fraction: Share of all data cut off for testing, where there is no official test set.
        seed: Alone moves these cuts.
        stream: How the training data becomes experiences; None is ``InstanceIncremental()``.
        train_transforms: Replace ``default_train_transforms()``: uint8 (3, h, w) to uint8 (3, H, W).
        eval_transforms: Replace ``default_eval_transforms()``, likewise.

    Attributes:
        samples: The sample table, every row in a split.
        class_names: The C names; a label is a position among them.
        scenario: How the stream was cut.
        stream: The experiences.
        split_hash: Identifies the split.
    """

    def __init__(
        self,
        root: str | Path,
        batch_size: int = 32,
        num_workers: int = 2,
        image_size: int = 224,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        seed: int = 0,
        stream: Scenario | None = None,
        train_transforms: list[nn.Module] | None = None,
        eval_transforms: list[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("image_size", image_size, 1),
        ):
            if value < least:
                raise ConfigError(f"data.{name} must be at least {least}, not {value}.")
        self.root = Path(root).expanduser()
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.image_size = image_size
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.seed = seed
        self.scenario = InstanceIncremental() if stream is None else stream
        self.train_transform = v2.Compose(
            self.default_train_transforms() if train_transforms is None else train_transforms
        )
        self.eval_transform = v2.Compose(self.default_eval_transforms() if eval_transforms is None else eval_transforms)
        samples, self.class_names = self.read_samples()
        check_samples(samples, self.class_names)
        key = self.scenario.key_column(samples)
        self.samples = split_samples(samples, self.class_names, val_fraction, test_fraction, seed, key)
        self._build_stream()

    @abstractmethod
    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """Read the disk layout: the sample table (see ``lightning_vision.samples``) and the class names.

        Raises:
            DataError: The layout is not there: which was expected, where it looked, where to get the data.
        """

    def load_image(self, index: int) -> Tensor:
        """The picture of a row: uint8 RGB (3, h, w), upright.

        Raises:
            DataError: It cannot be decoded.
        """
        return decode(self.root / self._paths[index])

    def default_train_transforms(self) -> list[nn.Module]:
        """Random crop to ``image_size``, random flip."""
        return [v2.RandomResizedCrop(self.image_size, antialias=True), v2.RandomHorizontalFlip()]

    def default_eval_transforms(self) -> list[nn.Module]:
        """The shorter side to 256/224 of ``image_size``, then its centre."""
        return [v2.Resize(int(256 / 224 * self.image_size), antialias=True), v2.CenterCrop(self.image_size)]

    @property
    def num_classes(self) -> int:
        """C, the number of class names."""
        return len(self.class_names)

    def use_class_names(self, names: Sequence[str]) -> None:
        """Take over another class list, longer or in another order, and relabel by name; the split stays.

        Raises:
            DataError: A class of this data is not on the list.
        """
        absent = [name for name in self.class_names if name not in names]
        if absent:
            raise DataError(
                f"This data has {'a class' if len(absent) == 1 else 'classes'} that the classifier does not know: "
                f"{listed(absent)}. It knows {listed(names)}. "
                "Rename or remove them, or train a new base on all classes."
            )
        new_labels = np.array([list(names).index(name) for name in self.class_names], dtype=np.int64)
        self.samples = self.samples.assign(label=new_labels[self.samples["label"].to_numpy()])
        self.class_names = list(names)
        self._build_stream()

    def enter(
        self,
        experience: int,
        seed: int,
        shuffle: bool = True,
        memory: Tensor | None = None,
        memory_size: int = 0,
        epoch: int = 0,
        start_batch: int = 0,
    ) -> None:
        """Choose what the training and validation loaders made from now on serve.

        Args:
            experience: Number of the experience.
            seed: What order and augmentation derive from.
            shuffle: A new order each epoch and augmentation; otherwise the stream's order and neither.
            memory: (M,) rows of the past to draw from for each batch.
            memory_size: How many of them a batch is given.
            epoch: The epoch that training begins with, for a run that is gone on with.
            start_batch: The batches of that epoch that were trained already.
        """
        rows = None if memory is None else memory.detach().cpu().numpy().astype(np.int64)
        self._entered = Entered(experience, seed, shuffle, rows, memory_size, epoch, start_batch)

    def train_dataloader(self) -> DataLoader[Any]:
        """The training data of the entered experience; its batch sampler is a ``TrainBatches``."""
        now, (rank, world_size) = self._entered, self._place()
        batches = TrainBatches(
            self.stream[now.experience].indices,
            self._experience_of_row,
            self.batch_size,
            rank,
            world_size,
            now.seed,
            now.experience,
            now.shuffle,
            now.memory,
            now.memory_size,
        )
        batches.set_epoch(now.epoch)
        batches.set_start(now.start_batch)
        return make_loader(self._dataset(), batches, self.num_workers)

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation part of the entered experience."""
        return self._evaluation(self.stream[self._entered.experience].val_indices, *self._place())

    def test_dataloader(self) -> DataLoader[Any]:
        """The whole test set."""
        return self.evaluation_loader("test", None, *self._place())

    def predict_dataloader(self) -> DataLoader[Any]:
        """The whole test set."""
        return self.test_dataloader()

    def evaluation_loader(
        self, part: Literal["val", "test"], up_to: int | None = None, rank: int = 0, world_size: int = 1
    ) -> DataLoader[Any]:
        """The validation or test parts of experiences 0 to ``up_to`` (None: of all) together, each picture once."""
        experiences = self.stream.experiences[: None if up_to is None else up_to + 1]
        rows = [item.val_indices if part == "val" else item.test_indices for item in experiences]
        return self._evaluation(np.sort(np.concatenate(rows)), rank, world_size)

    def ordered_loader(self, experience: int, rank: int = 0, world_size: int = 1) -> DataLoader[Any]:
        """The training data of an experience with the evaluation transform, in the stream's order, striped."""
        rows = self.stream[experience].indices
        batches = TrainBatches(
            rows, self._experience_of_row, self.batch_size, rank, world_size, experience=experience, shuffle=False
        )
        return make_loader(self._dataset(), batches, self.num_workers)

    def describe(self) -> dict[str, Any]:
        """Facts for the record: the class, its options, what was found on disk."""
        split = self.samples["split"]
        per_class = {
            name: {part: int(((self.samples["label"] == label) & (split == part)).sum()) for part in SPLITS}
            for label, name in enumerate(self.class_names)
        }
        return {
            "class_path": f"{type(self).__module__}.{type(self).__qualname__}",
            "init_args": {
                "root": str(self.root),
                "batch_size": self.batch_size,
                "num_workers": self.num_workers,
                "image_size": self.image_size,
                "val_fraction": self.val_fraction,
                "test_fraction": self.test_fraction,
                "seed": self.seed,
                "stream": self.scenario.describe(),
            },
            "samples": {part: int((split == part).sum()) for part in SPLITS},
            "samples_per_class": per_class,
        }

    def __getstate__(self) -> dict[str, Any]:
        """Without the trainer: worker processes that are spawned need this object and cannot be sent that one."""
        return {**self.__dict__, "trainer": None}

    def _build_stream(self) -> None:
        self.stream = self.scenario.build(self.samples, self.class_names)
        self.split_hash = split_hash(self.samples)
        self._paths: list[str] = self.samples["path"].tolist()
        self._experience_of_row: Rows = np.full(len(self.samples), -1, dtype=np.int64)
        for item in self.stream:
            for rows in (item.indices, item.val_indices, item.test_indices):
                self._experience_of_row[rows] = item.index
        self._entered = Entered(experience=0, seed=self.seed)

    def _dataset(self) -> SampleDataset:
        labels = self.samples["label"].to_numpy()
        return SampleDataset(self.load_image, labels, self.train_transform, self.eval_transform)

    def _evaluation(self, rows: Rows, rank: int, world_size: int) -> DataLoader[Any]:
        batches = EvalBatches(rows, self._experience_of_row, self.batch_size, rank, world_size)
        return make_loader(self._dataset(), batches, self.num_workers)

    def _place(self) -> tuple[int, int]:
        """Rank and number of processes."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
