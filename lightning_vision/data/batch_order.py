"""The order of training and evaluation batches: a function of the seed, the experience and the epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from lightning_vision.array_types import Rows
from lightning_vision.data.reservoir import Reservoir
from lightning_vision.seeding import derive_seed


class Draw(NamedTuple):
    """One image of a batch."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which draws do not use
    """Row in the sample table."""
    experience: int
    seed: int
    """The seed of the augmentation; -1 for the evaluation transform."""
    valid: bool
    """False for a stand-in, which is not counted."""
    memory: bool
    """Whether it comes from the learning strategy's memory of the past."""
    place: int | None = None
    """Its place in a memory that is filled image by image, -1: none; None: there is no such memory."""


class TrainBatches(Sampler[list[Draw]]):
    """The batches of one process in an epoch of training.

    Global batch b holds the images ``order[b * B * W : (b + 1) * B * W]`` for B images on each of W processes, and
    process r takes every W-th of them from the r-th on. Batch norm cannot train on one or two images, so the last
    two global batches are split evenly if the last one has less than half the size; this does not depend on the number
    of processes, as long as B * W is the same. A process without an image is given one stand-in (``valid`` False), alone
    in its batch, whose loss has weight zero.

    Args:
        indices: (N,) training rows in the stream's order.
        experiences: The experience of every row of the sample table.
        batch_size: Images of a batch on one process.
        rank: Number of this process.
        world_size: Number of processes.
        seed: Order, augmentation and memory derive from it, the experience and the epoch.
        experience: Number of the experience that is learned.
        shuffle: A new order each epoch, and the training transform; otherwise the stream's order and the evaluation
            transform, for strategies in closed form.
        memory: (M,) rows from which images are drawn for each batch, the same on every process.
        memory_size: Number of these images in each batch.
        reservoir: The memory that is filled image by image, as it stands before the next batch to be learned; it replaces
            ``memory``. It is asked when an epoch begins, and each batch is drawn from the memory as it stands before that batch.
        memory_draws: Number of independent draws from the reservoir for each batch, each of ``memory_size`` images or of all it has.
        labels: (R,) the label of every row of the sample table: an epoch then shows all classes equally often, small
            ones repeatedly and a different part of large ones each epoch. None: every row once.
        augment: False: the evaluation transform, still with a new order each epoch.
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
        reservoir: Callable[[], Reservoir | None] | None = None,
        memory_draws: int = 1,
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
        self.memory_size = memory_size if len(self.memory) or reservoir is not None else 0
        self.reservoir, self.memory_draws = reservoir, memory_draws
        self.labels = labels
        self.augment = augment and shuffle
        self.choose: Callable[[Rows, np.random.Generator], Rows] | None = None
        """Replaces some rows of an epoch by as many others; set by a recipe between epochs."""
        self.epoch = 0
        self._start = 0
        size, count = batch_size * world_size, len(self.indices)
        self.starts = list(range(0, count, size))
        if shuffle and len(self.starts) > 1 and 2 * (count - self.starts[-1]) < size:
            self.starts[-1] = self.starts[-2] + (count - self.starts[-2] + 1) // 2
        self.global_sizes: list[int] = np.diff([*self.starts, count]).tolist()
        """Images of each global batch, stand-ins and memory not counted."""

    @property
    def sampler(self) -> TrainBatches:
        """Itself: Lightning calls ``set_epoch`` on the sampler of a batch sampler, not on the batch sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which determines the order and augmentation of the next iteration."""
        self.epoch = epoch

    def set_start(self, batch: int) -> None:
        """Skip the first batches of the next epoch that is iterated over, and of that one only."""
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
        kept = None if self.reservoir is None else self.reservoir()
        for number in range(start, len(self.starts)):
            together = order[self.starts[number] : ends[number]]
            own = together[self.rank :: self.world_size]
            place = self.starts[number] + self.rank
            if len(own):
                draws = self._draws(own, epoch, range(place, place + self.world_size * len(own), self.world_size))
            else:
                draws = [self._draws(together[:1], epoch, [place])[0]._replace(valid=False)]
            if kept is None:
                yield draws + self._memory_draws(epoch, number)
                continue
            remembered = self._reservoir_draws(epoch, number, kept)
            taken, kept = kept.offer(together)
            yield in_places(draws, taken[self.rank :: self.world_size] if len(own) else [-1]) + remembered

    def _draws(self, rows: Rows, epoch: int, places: Iterable[int]) -> list[Draw]:
        """The draws at positions of the epoch's order; a repeated row is augmented differently each time."""
        if self.augment:
            words = (self.seed, "augment", self.experience, epoch)
            again = self.labels is not None or self.choose is not None
            seeds = [
                derive_seed(*words, int(row), *([place] if again else []))
                for row, place in zip(rows, places, strict=True)
            ]
        else:
            seeds = [-1] * len(rows)
        return listed_draws(rows, self.experiences, seeds)

    def _memory_draws(self, epoch: int, number: int) -> list[Draw]:
        if self.memory_size == 0:
            return []
        words = (self.seed, "memory", self.experience, epoch, number)
        generator = np.random.default_rng(derive_seed(*words))
        rows = generator.choice(self.memory, self.memory_size, replace=self.memory_size > len(self.memory))
        return self._remembered(rows, words)

    def _reservoir_draws(self, epoch: int, number: int, kept: Reservoir) -> list[Draw]:
        filled, draws = kept.filled(), []
        for again in range(self.memory_draws if len(filled) else 0):
            words = (self.seed, "memory", self.experience, epoch, number, again)
            generator = np.random.default_rng(derive_seed(*words))
            places = generator.choice(filled, min(self.memory_size, len(filled)), replace=False)
            draws += in_places(self._remembered(kept.rows[places], words), places)
        return draws

    def _remembered(self, rows: Rows, words: tuple[int | str, ...]) -> list[Draw]:
        seeds = [derive_seed(*words, position) if self.augment else -1 for position in range(len(rows))]
        return listed_draws(rows, self.experiences, seeds, memory=True)


def listed_draws(
    rows: Rows, experiences: Rows, seeds: Iterable[int], valid: bool = True, memory: bool = False
) -> list[Draw]:
    """Draws of rows (B,), given the experience of every row of the sample table and the seed of each draw."""
    found = zip(rows.tolist(), experiences[rows].tolist(), seeds, strict=True)
    return [Draw(row, experience, seed, valid, memory) for row, experience, seed in found]


def in_places(draws: Iterable[Draw], places: Iterable[int]) -> list[Draw]:
    """The draws with their places in a memory that is filled image by image."""
    return [draw._replace(place=int(place)) for draw, place in zip(draws, places, strict=True)]


def balanced_order(rows: Rows, labels: Rows, generator: np.random.Generator) -> Rows:
    """N rows in which all classes are equally frequent, up to a difference of one.

    Each class is repeated as a whole, in a new order each time, and the rest of its share is a part of it: the images of
    a class are shown equally often, up to a difference of one.

    Args:
        rows: (N,)
        labels: (N,) their labels.
        generator: Draws the order.
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

    Every process has the same number of batches, so that they can wait for each other; a process with too few rows is
    given a stand-in (``valid`` False) as a batch. Without rows, no process has a batch.

    Args:
        indices: (N,) rows to evaluate.
        experiences: The experience of every row of the sample table.
        batch_size: The most images of a batch on one process.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(self, indices: Rows, experiences: Rows, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices = np.asarray(indices, dtype=np.int64)
        self.experiences = experiences
        self.rank = rank
        self.world_size = world_size
        most = -(-len(self.indices) // world_size)  # rows of the process with the most rows
        self.batches = -(-most // batch_size)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[Draw]]:
        if self.batches == 0:
            return
        for rows in np.array_split(self.indices[self.rank :: self.world_size], self.batches):
            valid = len(rows) > 0
            chunk = rows if valid else self.indices[:1]
            yield listed_draws(chunk, self.experiences, [-1] * len(chunk), valid)
