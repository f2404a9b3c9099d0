"""A memory of the past that is filled image by image while they are learned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightning_vision.array_types import Rows
from lightning_vision.seeding import sample_keys


@dataclass(frozen=True, eq=False)
class Reservoir:
    """A uniform sample of all images that were offered, in M places (algorithm R of Vitter 1985).

    Image n takes place n as long as n < M. From then on r = h(seed, n) mod (n + 1), and it takes place r if r < M, else none. So
    which image takes which place is a function of the position in the stream: it is the same on all processes and in a run that
    resumes, and loaders can know it before the image is learned.
    """

    rows: Rows
    """(M,) the row of the sample table in each place; -1: the place is empty."""
    offered: int
    """The number of images that were offered, n of the next one."""
    seed: int

    def offer(self, rows: Rows) -> tuple[Rows, Reservoir]:
        """Offer the images of a batch one after the other.

        Args:
            rows: (B,) their rows.

        Returns:
            (B,) the place that each of them takes, -1: none, or one that a later image of the batch takes; and the memory afterwards.
        """
        size, numbers = len(self.rows), np.arange(self.offered, self.offered + len(rows), dtype=np.int64)
        drawn = (sample_keys(numbers, self.seed) % (numbers + 1).astype(np.uint64)).astype(np.int64)
        places = np.where(numbers < size, numbers, drawn)
        last = len(rows) - 1 - np.unique(places[::-1], return_index=True)[1]
        last = last[places[last] < size]
        taken: Rows = np.full(len(rows), -1, dtype=np.int64)
        taken[last] = places[last]
        kept = self.rows.copy()
        kept[taken[last]] = rows[last]
        return taken, Reservoir(kept, self.offered + len(rows), self.seed)

    def filled(self) -> Rows:
        """The places that hold an image, ascending."""
        return np.flatnonzero(self.rows >= 0)
