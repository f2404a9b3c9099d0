"""From rows to batches: the order of a stream and its augmentation as pure functions of seed, experience and epoch.

Nothing here depends on the number of workers, on how often an iterator was made, or on a generator's state, so a run
that was interrupted goes on with the same pictures, and any number of processes sees the same global batches.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lightning_vision.batch import Batch
from lightning_vision.errors import ConfigError, UserError
from lightning_vision.samples import Rows, derive_seed
from lightning_vision.sources import PictureSource
from lightning_vision.transform_identity import describe_transform
from lightning_vision.transforming import Transform, seeded, transform_annotated, transform_picture

Item = dict[str, Any]


class Draw(NamedTuple):
    """One picture that a batch asks for."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which no one needs of a draw
    """Row in the sample table."""
    experience: int
    seed: int
    """Of the augmentation; -1 for the evaluation transform."""
    valid: bool
    """False for a stand-in, which counts nowhere."""
    memory: bool
    """From the learning strategy's memory of the past."""


class SampleDataset(Dataset[Item]):
    """Loads, transforms and labels one picture. The augmentation is a pure function of the draw's seed.

    Transforms draw from the generators of torch or Python, as torchvision's do; NumPy's takes too long to set.

    Args:
        source: Opens the picture of a row.
        labels: (N,) the label of each row.
        train_transform: For draws with a seed; uint8 (3, h, w) to uint8 (3, H, W).
        eval_transform: For draws without.
        annotations: Give boxes and saliency maps with the pictures, moved along with them.
    """

    def __init__(
        self,
        source: PictureSource,
        labels: Rows,
        train_transform: Transform,
        eval_transform: Transform,
        annotations: bool = False,
    ) -> None:
        self.source = source
        self.labels = labels
        self.train_transform = train_transform
        self.eval_transform = eval_transform
        self.annotations = annotations

    def __len__(self) -> int:
        return len(self.labels)

    def describe(self, augmented: bool) -> dict[str, Any]:
        """All that is done to a row's image on its way to the network, as plain values: the key of what is kept of it.

        Args:
            augmented: With the training transform; otherwise with that of evaluation.
        """
        transform = self.train_transform if augmented else self.eval_transform
        return {**self.source.describe(), "transform": describe_transform(transform), "annotated": self.annotations}

    def __getitem__(self, draw: Draw) -> Item:
        """The draw's fields, with ``image`` and ``label``, and the annotations if they are asked for."""
        transform = self.eval_transform if draw.seed < 0 else self.train_transform
        picture = self.source.open(draw.index)
        if self.annotations:
            known = self.source.annotations(draw.index)
            item = seeded(lambda: transform_annotated(transform, picture.pixels(), known), draw.seed)
        else:
            item = {"image": seeded(lambda: transform_picture(transform, picture), draw.seed)}
        image = item["image"]
        if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
            raise ConfigError(
                "A transform must turn a uint8 picture (3, h, w) into a uint8 picture (3, H, W); it gave "
                f"{str(image.dtype).removeprefix('torch.')} {tuple(image.shape)}. Leave out ToDtype, ToImage and "
                "Normalize: the network scales and normalises on its own device."
            )
        return {**draw._asdict(), **item, "label": int(self.labels[draw.index])}


def collate(items: Sequence[Item]) -> Batch:
    """Stack items to a batch; what was drawn from memory becomes the batch under ``memory``."""
    batch = _stack([item for item in items if not item["memory"]])
    remembered = [item for item in items if item["memory"]]
    if remembered:
        batch["memory"] = _stack(remembered)
    return batch


class TrainBatches(Sampler[list[Draw]]):
    """The batches of one process in an epoch of training.

    Global batch b holds the pictures ``order[b * B * W : (b + 1) * B * W]`` for B pictures on each of W processes, and
    process r takes every W-th of them from the r-th on. Batch norm cannot train on a picture or two, so a last global
    batch of less than half the size is shared evenly with the one before; that does not depend on the number of
    processes, as long as B * W is the same. A process left without a picture is given one as a stand-in (``valid``
    False), alone in its batch: what the strategy makes of it is weighted by zero.

    Args:
        indices: (N,) training rows in the stream's order.
        experiences: The experience of every row of the sample table.
        batch_size: Pictures of a batch on one process.
        rank: Number of this process.
        world_size: Number of processes.
        seed: What order, augmentation and memory derive from, beside experience and epoch.
        experience: Number of the experience that is learned.
        shuffle: A new order each epoch, and the training transform; otherwise the stream's order and the evaluation
            transform, for strategies in closed form.
        memory: (M,) rows to draw from for each batch, the same on every process.
        memory_size: How many of them a batch is given.
        labels: (R,) the label of every row of the sample table: an epoch then shows each class as often, small ones
            repeatedly and large ones in part, another part each epoch. None: every row once.
        augment: False: the evaluation transform in spite of the new order.
    """

    def __init__(
        self,
        indices: Rows,
        experiences: Rows,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        experience: int = 0,
        shuffle: bool = True,
        memory: Rows | None = None,
        memory_size: int = 0,
        labels: Rows | None = None,
        augment: bool = True,
    ) -> None:
        self.indices = np.asarray(indices, dtype=np.int64)
        self.experiences = experiences
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.seed = seed
        self.experience = experience
        self.shuffle = shuffle
        self.memory = np.asarray([] if memory is None else memory, dtype=np.int64)
        self.memory_size = memory_size if len(self.memory) else 0
        self.labels = labels
        self.augment = augment and shuffle
        self.choose: Callable[[Rows, np.random.Generator], Rows] | None = None
        """Puts other rows in the place of some of an epoch's, as many; set by a recipe between epochs."""
        self.epoch = 0
        self._start = 0
        size, count = batch_size * world_size, len(self.indices)
        self.starts = list(range(0, count, size))
        if shuffle and len(self.starts) > 1 and 2 * (count - self.starts[-1]) < size:
            self.starts[-1] = self.starts[-2] + (count - self.starts[-2] + 1) // 2

    @property
    def sampler(self) -> "TrainBatches":
        """Itself: Lightning calls ``set_epoch`` on the sampler of a batch sampler, not on the batch sampler."""
        return self

    @property
    def global_sizes(self) -> list[int]:
        """Pictures of each global batch, stand-ins and memory not counted."""
        return [int(size) for size in np.diff([*self.starts, len(self.indices)])]

    def set_epoch(self, epoch: int) -> None:
        """Order and augmentation of what is iterated over next."""
        self.epoch = epoch

    def set_start(self, batch: int) -> None:
        """Leave out the first batches of the next epoch that is iterated over, and of that one only."""
        self._start = batch

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[list[Draw]]:
        start, self._start = self._start, 0
        epoch, order = self.epoch, self.indices
        if self.shuffle:
            generator = np.random.default_rng(derive_seed(self.seed, "order", self.experience, epoch))
            order = order if self.choose is None else self.choose(order, generator)
            order = (
                generator.permutation(order)
                if self.labels is None
                else balanced_order(order, self.labels[order], generator)
            )
        ends = [*self.starts[1:], len(order)]
        for number in range(start, len(self.starts)):
            together = order[self.starts[number] : ends[number]]
            own = together[self.rank :: self.world_size]
            place = self.starts[number] + self.rank
            draws = [
                self._draw(row, epoch, place + self.world_size * step, valid=True) for step, row in enumerate(own)
            ] or [self._draw(together[0], epoch, place, valid=False)]
            yield draws + self._memory_draws(epoch, number)

    def _draw(self, row: np.int64, epoch: int, place: int, valid: bool) -> Draw:
        """A row at a place in the epoch's order; one that is there repeatedly is augmented anew each time."""
        again = [] if self.labels is None and self.choose is None else [place]
        seed = derive_seed(self.seed, "augment", self.experience, epoch, int(row), *again) if self.augment else -1
        return Draw(int(row), int(self.experiences[row]), seed, valid, memory=False)

    def _memory_draws(self, epoch: int, number: int) -> list[Draw]:
        if self.memory_size == 0:
            return []
        words = (self.seed, "memory", self.experience, epoch, number)
        generator = np.random.default_rng(derive_seed(*words))
        rows = generator.choice(self.memory, self.memory_size, replace=self.memory_size > len(self.memory))
        seeds = [derive_seed(*words, place) if self.augment else -1 for place in range(len(rows))]
        return [
            Draw(int(row), int(self.experiences[row]), seed, valid=True, memory=True)
            for row, seed in zip(rows, seeds, strict=True)
        ]


def balanced_order(rows: Rows, labels: Rows, generator: np.random.Generator) -> Rows:
    """As many rows as there are, with every class as often as the others, give or take one.

    A class is gone through whole, in a new order, as often as its share asks for, and once more in part: no picture is
    shown more than once oftener than another of its class.

    Args:
        rows: (N,)
        labels: (N,) their labels.
        generator: What the order is drawn with.
    """
    classes = np.unique(labels)
    shares = np.full(len(classes), len(rows) // len(classes))
    shares[generator.permutation(len(classes))[: len(rows) % len(classes)]] += 1
    drawn = []
    for label, share in zip(classes, shares, strict=True):
        own = rows[labels == label]
        rounds = [generator.permutation(own) for _ in range(-(-int(share) // len(own)))]
        drawn.append(np.concatenate([*rounds, own[:0]])[:share])
    return generator.permutation(np.concatenate(drawn))


class EvalBatches(Sampler[list[Draw]]):
    """The batches of one process in an evaluation: over all processes each row exactly once, without padding.

    Every process has the same number of batches, so that they can wait for each other; one that has too few rows is
    given a stand-in (``valid`` False) as a batch. Without any row there is no batch on any process.

    Args:
        indices: (N,) rows to evaluate.
        experiences: The experience of every row of the sample table.
        batch_size: The most pictures of a batch on one process.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(self, indices: Rows, experiences: Rows, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices = np.asarray(indices, dtype=np.int64)
        self.experiences = experiences
        self.rank = rank
        self.world_size = world_size
        most = -(-len(self.indices) // world_size)  # rows on the process that has most
        self.batches = -(-most // batch_size)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[Draw]]:
        if self.batches == 0:
            return
        for rows in np.array_split(self.indices[self.rank :: self.world_size], self.batches):
            valid = len(rows) > 0
            chunk = rows if valid else self.indices[:1]
            yield [Draw(int(row), int(self.experiences[row]), -1, valid, memory=False) for row in chunk]


class StreamLoader(DataLoader[Any]):
    """A DataLoader that starts when its first batch is asked for, and whose workers' errors keep their own text.

    Lightning makes the iterator before it calls ``set_epoch``; workers that started then would fetch the batches of
    epoch 0 in a run that is resumed in a later one.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """The batches.

        Raises:
            UserError: What went wrong in a worker, without the traceback that torch puts around it.
        """
        try:
            yield from super().__iter__()
        except UserError as error:
            name = f"{type(error).__module__}.{type(error).__qualname__}: "
            raise type(error)(str(error).rpartition(name)[2].rstrip()) from error


class FeatureDataset(Dataset[Item]):
    """Serves features that were computed before, a whole batch at once.

    Args:
        read: Features (B, D) of rows (B,), given the seed (B,) of each draw.
        labels: (N,) the label of each row.
    """

    def __init__(self, read: Callable[[Rows, Rows], Tensor], labels: Rows) -> None:
        self.read = read
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, draw: Draw) -> Item:
        """One draw's features as ``image``, and its label."""
        return {**self._batch([draw])}

    def __getitems__(self, draws: Sequence[Draw]) -> Batch:
        """The batch of these draws: features (B, D) in place of pictures; what is from memory under ``memory``."""
        batch = self._batch([draw for draw in draws if not draw.memory])
        remembered = [draw for draw in draws if draw.memory]
        if remembered:
            batch["memory"] = self._batch(remembered)
        return batch

    def _batch(self, draws: Sequence[Draw]) -> Batch:
        rows = np.array([draw.index for draw in draws], dtype=np.int64)
        return Batch(
            image=self.read(rows, np.array([draw.seed for draw in draws], dtype=np.int64)),
            label=torch.from_numpy(self.labels[rows]),
            index=torch.from_numpy(rows),
            experience=torch.tensor([draw.experience for draw in draws], dtype=torch.int64),
            valid=torch.tensor([draw.valid for draw in draws], dtype=torch.bool),
        )


def make_feature_loader(dataset: FeatureDataset, batches: Iterable[list[Draw]]) -> DataLoader[Any]:
    """A loader of features: without workers, which would take longer to send a batch than it takes to read it."""
    generator = torch.Generator()
    return StreamLoader(dataset, batch_sampler=batches, collate_fn=_as_it_is, generator=generator)


def _as_it_is(batch: Any) -> Any:
    return batch


def make_loader(dataset: SampleDataset, batches: Iterable[list[Draw]], num_workers: int) -> DataLoader[Any]:
    """The project's one way to make a loader of pictures."""
    return StreamLoader(
        dataset,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=False,
        # The loader draws a seed for its workers; from torch's own generator it would move dropout.
        generator=torch.Generator(),
    )


def _stack(items: Sequence[Item]) -> Batch:
    shapes = {tuple(item["image"].shape) for item in items}
    if len(shapes) > 1:
        raise ConfigError(
            f"The pictures of one batch have different sizes after the transforms: {sorted(shapes)}. "
            "End the transforms with one that gives every picture the same size, such as CenterCrop."
        )
    batch = Batch(
        image=torch.stack([item["image"] for item in items]),
        label=torch.tensor([item["label"] for item in items], dtype=torch.int64),
        index=torch.tensor([item["index"] for item in items], dtype=torch.int64),
        experience=torch.tensor([item["experience"] for item in items], dtype=torch.int64),
        valid=torch.tensor([item["valid"] for item in items], dtype=torch.bool),
    )
    if "box_xyxy" in items[0]:
        batch["box_xyxy"] = torch.stack([item["box_xyxy"] for item in items])
        batch["saliency"] = torch.stack([item["saliency"] for item in items])
    return batch
