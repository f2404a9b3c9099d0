"""The reservoir: algorithm R, image by image, and the batches that are drawn from it."""

import numpy as np
import pytest

from lightning_vision.array_types import Rows
from lightning_vision.data.batch_order import Draw, TrainBatches
from lightning_vision.data.reservoir import Reservoir
from lightning_vision.seeding import sample_keys

EMPTY = np.full(5, -1, dtype=np.int64)


def one_by_one(rows: Rows, size: int, seed: int) -> list[int]:
    """Algorithm R as a loop over images."""
    kept = [-1] * size
    for n, row in enumerate(rows.tolist()):
        place = n if n < size else int(sample_keys(np.array([n]), seed)[0] % np.uint64(n + 1))
        if place < size:
            kept[place] = row
    return kept


def of_places(batches: list[list[Draw]], memory: bool) -> list[tuple[int, int | None]]:
    return [(draw.index, draw.place) for batch in batches for draw in batch if draw.memory is memory]


@pytest.mark.parametrize("batch", [1, 3, 50])
def test_batches_leave_what_one_image_at_a_time_leaves(batch: int) -> None:
    rows, kept = np.arange(100, 150), Reservoir(EMPTY, 0, seed=7)
    for start in range(0, 50, batch):
        places, after = kept.offer(rows[start : start + batch])
        named = kept.rows.copy()
        named[places[places >= 0]] = rows[start : start + batch][places >= 0]
        assert np.array_equal(named, after.rows), "the places say what is kept"
        kept = after
    assert kept.rows.tolist() == one_by_one(rows, 5, 7) and kept.offered == 50


def test_every_image_is_kept_alike() -> None:
    """10 of 40: each is kept in a quarter of the memories; five standard deviations of 4,000 draws are 0.034."""
    counts = np.zeros(40)
    for seed in range(4000):
        counts[Reservoir(np.full(10, -1, dtype=np.int64), 0, seed).offer(np.arange(40))[1].rows] += 1
    assert np.abs(counts / 4000 - 0.25).max() < 0.034


def batches_of(kept: Reservoir, **options: int) -> TrainBatches:
    where = (np.arange(20), np.zeros(20, dtype=np.int64), 4)
    return TrainBatches(*where, seed=3, memory_size=3, reservoir=lambda: kept, **options)  # type: ignore[arg-type]


def test_a_batch_is_drawn_from_the_memory_as_it_stands_before_it() -> None:
    kept = Reservoir(EMPTY, 0, seed=1)
    for batch in batches_of(kept):
        new = [draw for draw in batch if not draw.memory]
        old = [draw for draw in batch if draw.memory]
        assert len(old) == min(3, len(kept.filled()))
        assert all(kept.rows[draw.place] == draw.index for draw in old if draw.place is not None)
        places, kept = kept.offer(np.array([draw.index for draw in new]))
        assert [draw.place for draw in new] == places.tolist()


def test_it_goes_on_from_where_the_strategy_stands() -> None:
    """In mid-epoch, after two batches whose images are in the memory already."""
    kept = Reservoir(EMPTY, 0, seed=1)
    whole = list(batches_of(kept))
    for batch in whole[:2]:
        kept = kept.offer(np.array([draw.index for draw in batch if not draw.memory]))[1]
    resumed = batches_of(kept)
    resumed.set_start(2)
    assert list(resumed) == whole[2:]


@pytest.mark.parametrize("draws", [1, 2])
def test_two_processes_take_the_places_of_one(draws: int) -> None:
    kept = Reservoir(EMPTY, 0, seed=1)
    together = list(batches_of(kept, memory_draws=draws))
    where = (np.arange(20), np.zeros(20, dtype=np.int64), 2)
    both = [
        list(TrainBatches(*where, rank, 2, seed=3, memory_size=3, reservoir=lambda: kept, memory_draws=draws))
        for rank in (0, 1)
    ]
    assert sorted(of_places(both[0], False) + of_places(both[1], False)) == sorted(of_places(together, False))
    assert of_places(both[0], True) == of_places(both[1], True) == of_places(together, True)
    last = [draw.place for draw in together[-1] if draw.memory]
    assert len(last) == 3 * draws and len(set(last[:3])) == 3, "without replacement"


def test_without_a_reservoir_there_are_no_places() -> None:
    batches = TrainBatches(np.arange(6), np.zeros(6, dtype=np.int64), 2, memory=np.arange(3), memory_size=1)
    assert all(draw.place is None for batch in batches for draw in batch)
