"""Batches: pure functions of seed, experience and epoch, the same on any number of processes and workers."""

import copy
import pickle
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch import Tensor
from torch.utils.data import Sampler
from torchvision.transforms import v2

from lightning_vision.array_types import Rows
from lightning_vision.data.batch import Batch, FeatureBatch
from lightning_vision.data.batch_order import Draw, EvalBatches, TrainBatches
from lightning_vision.data.datasets import FeatureDataset, SampleDataset, collate
from lightning_vision.data.loaders import make_feature_loader, make_loader
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.images.image_sources import Loaded

EXPERIENCES = np.arange(200, dtype=np.int64) // 50


def load(index: int) -> Tensor:
    if index == 199:
        raise DataError("The image 199.jpg cannot be decoded.\nRepair it.")
    return torch.full((3, 6, 6), index, dtype=torch.uint8)


def noise(image: Tensor) -> Tensor:
    return (image + torch.randint(0, 20, (3, 1, 1)) + random.randrange(20)).to(torch.uint8)


def dataset() -> SampleDataset:
    return SampleDataset(Loaded(load), np.arange(200, dtype=np.int64) % 7, noise, v2.Identity())


def train(
    count: int, batch_size: int, rank: int = 0, world_size: int = 1, shuffle: bool = True, epoch: int = 0
) -> TrainBatches:
    indices = np.arange(100, 100 + count, dtype=np.int64)[::-1]
    batches = TrainBatches(indices, EXPERIENCES, batch_size, rank, world_size, seed=5, experience=2, shuffle=shuffle)
    batches.set_epoch(epoch)
    return batches


def valid(batch: Sequence[Draw]) -> list[Draw]:
    return [draw for draw in batch if draw.valid and not draw.memory]


class TestTrainBatches:
    @pytest.mark.parametrize("count", [2, 3, 7, 8, 9, 10, 11, 32, 33])
    @pytest.mark.parametrize("shuffle", [True, False])
    def test_any_number_of_processes_gives_the_same_global_batches(self, count: int, shuffle: bool) -> None:
        alone = [sorted(batch) for batch in train(count, 8, shuffle=shuffle)]
        for world_size in (2, 4):
            ranks = [list(train(count, 8 // world_size, rank, world_size, shuffle)) for rank in range(world_size)]
            together = [
                sorted(draw for batch in batches for draw in valid(batch)) for batches in zip(*ranks, strict=True)
            ]
            assert together == alone
            assert all(len(own) > 0 for rank in ranks for own in rank)
        sizes = [train(count, 8 // world, 0, world, shuffle).global_sizes for world in (1, 2, 4)]
        assert sizes == [[len(batch) for batch in alone]] * 3
        assert len(train(count, 8, shuffle=shuffle)) == len(alone)
        assert sorted(draw.index for batch in alone for draw in batch) == list(range(100, 100 + count))

    def test_a_small_last_batch_is_shared_with_the_one_before(self) -> None:
        assert train(17, 8).global_sizes == [8, 5, 4]
        assert train(20, 8).global_sizes == [8, 8, 4]
        assert train(1, 8).global_sizes == [1]
        assert train(3, 1).global_sizes == [1, 1, 1]
        assert train(17, 8, shuffle=False).global_sizes == [8, 8, 1]

    def test_stand_ins(self) -> None:
        """A process is never without an image; a stand-in is alone in its batch and does not count."""
        ordered = [list(train(10, 2, rank, 4, shuffle=False))[-1] for rank in range(4)]
        assert [[draw.valid for draw in batch] for batch in ordered] == [[True], [True], [False], [False]]
        assert [draw.valid for draw in next(iter(train(1, 8, 1, 2)))] == [False]

    def test_order_and_augmentation_follow_from_seed_experience_and_epoch(self) -> None:
        def drawn(seed: int = 0, experience: int = 0, epoch: int = 0) -> list[list[Draw]]:
            batches = TrainBatches(np.arange(20), EXPERIENCES, 8, seed=seed, experience=experience)
            batches.set_epoch(epoch)
            torch.rand(3)
            np.random.rand(3)
            return list(batches)

        assert drawn() == drawn()
        orders = [drawn(), drawn(seed=1), drawn(experience=1), drawn(epoch=1)]
        assert len({tuple(draw.index for batch in order for draw in batch) for order in orders}) == 4
        assert len({draw.seed for order in orders for batch in order for draw in batch}) == 80

    def test_the_streams_order_without_augmentation(self) -> None:
        draws = [draw for batch in train(20, 8, shuffle=False, epoch=3) for draw in batch]
        assert [draw.index for draw in draws] == list(range(119, 99, -1))
        assert {draw.seed for draw in draws} == {-1}
        assert {draw.experience for draw in draws} == {2}

    def test_start_in_mid_epoch_once(self) -> None:
        batches = train(40, 8)
        whole = list(batches)
        batches.set_start(3)
        assert len(batches) == 5
        assert list(batches) == whole[3:]
        assert list(batches) == whole

    def test_memory_is_the_same_on_every_process_and_new_in_every_batch(self) -> None:
        def remembered(rank: int, size: int = 4, memory: Sequence[int] = range(10)) -> list[list[Draw]]:
            rows = np.array(memory, dtype=np.int64)
            batches = TrainBatches(np.arange(50, 90), EXPERIENCES, 8, rank, 2, 0, 1, memory=rows, memory_size=size)
            return [[draw for draw in batch if draw.memory] for batch in batches]

        first = remembered(0)
        assert first == remembered(1)
        assert [len(batch) for batch in first] == [4, 4, 4]
        assert all(len({draw.index for draw in batch}) == 4 for batch in first)
        assert len({tuple(draw.index for draw in batch) for batch in first}) == 3
        assert {draw.experience for batch in first for draw in batch} == {0}
        assert [len(batch) for batch in remembered(0, size=15)] == [15, 15, 15]
        assert remembered(0, memory=[]) == [[], [], []]

    @pytest.mark.parametrize("labels", [None, EXPERIENCES % 3])
    def test_without_augmentation_the_order_and_the_memory_are_the_same(self, labels: Rows | None) -> None:
        def drawn(augment: bool) -> list[list[Draw]]:
            batches = TrainBatches(
                np.arange(50, 90),
                EXPERIENCES,
                8,
                0,
                1,
                3,
                1,
                memory=np.arange(9),
                memory_size=3,
                labels=labels,
                augment=augment,
            )
            batches.set_epoch(2)
            return list(batches)

        augmented, plain = drawn(True), drawn(False)
        assert all(draw.seed >= 0 for batch in augmented for draw in batch)
        assert plain == [[draw._replace(seed=-1) for draw in batch] for batch in augmented]


class TestBalanced:
    """Every class as often; the global batches, their order and augmentation are as pure a function as without."""

    LABELS = np.where(np.arange(200) % 10 == 0, 1, 0)

    def batches(self, rank: int, world_size: int) -> list[list[Draw]]:
        rows = np.arange(100, 160)
        made = TrainBatches(rows, EXPERIENCES, 8 // world_size, rank, world_size, seed=5, labels=self.LABELS)
        return list(made)

    def test_any_number_of_processes_gives_the_same_global_batches(self) -> None:
        alone = [sorted(batch) for batch in self.batches(0, 1)]
        ranks = [self.batches(rank, 2) for rank in range(2)]
        assert [sorted([*one, *two]) for one, two in zip(*ranks, strict=True)] == alone
        shown = [draw for batch in alone for draw in batch]
        assert sum(self.LABELS[draw.index] for draw in shown) == len(shown) / 2 == 30
        assert len({draw.seed for draw in shown}) == len(shown), "each time an image is shown it is augmented anew"


class TestEvalBatches:
    @pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 17, 33])
    @pytest.mark.parametrize("world_size", [1, 2, 3, 5])
    @pytest.mark.parametrize("batch_size", [1, 4, 8])
    def test_each_row_once_and_as_many_batches_everywhere(self, count: int, world_size: int, batch_size: int) -> None:
        rows = np.arange(count, dtype=np.int64) * 3
        ranks = [EvalBatches(rows, EXPERIENCES, batch_size, rank, world_size) for rank in range(world_size)]
        lists = [list(rank) for rank in ranks]
        assert sorted(draw.index for rank in lists for batch in rank for draw in valid(batch)) == rows.tolist()
        assert {len(rank) for rank in lists} == {len(ranks[0])}
        assert all(0 < len(batch) <= batch_size for rank in lists for batch in rank)
        assert {draw.seed for rank in lists for batch in rank for draw in batch} == {-1}

    def test_nothing_to_evaluate(self) -> None:
        batches = EvalBatches(np.array([], dtype=np.int64), EXPERIENCES, 8, 1, 2)
        assert len(batches) == 0 and list(batches) == []


def batches_of(sampler: Sampler[list[Draw]], num_workers: int) -> list[Batch]:
    return list(make_loader(dataset(), sampler, num_workers))


class TestLoader:
    def test_the_number_of_workers_changes_nothing(self) -> None:
        torch.manual_seed(1)
        here = batches_of(train(20, 8), 0)
        torch.manual_seed(2)
        for workers in (1, 2):
            for one, two in zip(here, batches_of(train(20, 8), workers), strict=True):
                assert all(
                    torch.equal(one[key], two[key]) for key in ("image", "label", "index", "experience", "valid")
                )

    def test_no_generator_is_moved(self) -> None:
        random.seed(0)
        torch.manual_seed(0)
        before = random.getstate(), torch.get_rng_state()
        for workers in (0, 1):
            batches_of(train(20, 8), workers)
        assert random.getstate() == before[0]
        assert torch.equal(torch.get_rng_state(), before[1])

    def test_the_augmentation_is_a_function_of_the_draws_seed(self) -> None:
        data = dataset()
        images = [data[Draw(3, 0, seed, True, False)]["image"] for seed in (1, 1, 2**62, -1)]
        assert torch.equal(images[0], images[1])
        assert not torch.equal(images[0], images[2])
        assert torch.equal(images[3], load(3))

    def test_the_order_is_read_when_the_first_batch_is_asked_for(self) -> None:
        """Lightning makes the iterator before it calls set_epoch; workers must not have fetched epoch 0 by then."""
        sampler = train(40, 8)
        iterator = iter(make_loader(dataset(), sampler, 1))
        sampler.sampler.set_epoch(4)
        found = [row for batch in iterator for row in batch["index"].tolist()]
        assert found == [draw.index for batch in train(40, 8, epoch=4) for draw in batch]

    def test_what_a_batch_holds(self) -> None:
        memory: Rows = np.array([1, 2], dtype=np.int64)
        sampler = TrainBatches(np.arange(50, 54), EXPERIENCES, 4, memory=memory, memory_size=2, experience=1)
        batch = batches_of(sampler, 0)[0]
        assert batch["image"].shape == (4, 3, 6, 6) and batch["image"].dtype == torch.uint8
        assert all(batch[key].dtype == torch.int64 for key in ("label", "index", "experience"))
        assert batch["label"].tolist() == [index % 7 for index in batch["index"].tolist()]
        assert batch["experience"].tolist() == [1] * 4
        assert batch["valid"].dtype == torch.bool and bool(batch["valid"].all())
        assert sorted(batch["memory"]["index"].tolist()) == [1, 2]
        assert "memory" not in batch["memory"]

    def test_what_a_batch_of_features_holds(self) -> None:
        memory: Rows = np.array([1, 2], dtype=np.int64)
        sampler = TrainBatches(np.arange(50, 54), EXPERIENCES, 4, memory=memory, memory_size=2)
        table = torch.randn(200, 5)
        data = FeatureDataset(lambda rows, seeds: table[rows], np.arange(200, dtype=np.int64) % 7)
        (batch,) = make_feature_loader(data, sampler)
        assert torch.equal(batch["features"], table[batch["index"]])
        assert torch.equal(batch["memory"]["features"], table[batch["memory"]["index"]])
        assert "image" not in batch and "image" not in batch["memory"]

    def test_the_former_key_of_features_survives_what_is_done_to_batches(self) -> None:
        table = torch.randn(9, 5)
        data = FeatureDataset(lambda rows, seeds: table[rows], np.zeros(9, dtype=np.int64))
        batch = data.__getitems__([Draw(4, 0, -1, True, False), Draw(7, 0, -1, True, True)])
        kind: Any = type(batch)
        copies: list[Any] = [
            move_data_to_device(batch, torch.device("cpu")),
            pickle.loads(pickle.dumps(batch)),
            copy.deepcopy(batch),
            copy.copy(batch),  # of which torch makes the pinned one
            kind(zip(batch.keys(), batch.values(), strict=True)),  # as DistributedDataParallel does
        ]
        for made in copies:
            for held, row in ((made, 4), (made["memory"], 7)):
                assert type(held) is FeatureBatch
                with pytest.warns(DeprecationWarning, match=r"network\(batch\) or network\.features\(batch\)"):
                    former = held["image"]
                assert torch.equal(former, table[[row]])
        with pytest.raises(KeyError, match="target"):
            batch["target"]

    @pytest.mark.parametrize("workers", [0, 1])
    def test_an_error_keeps_its_own_text(self, workers: int) -> None:
        sampler = EvalBatches(np.array([1, 199], dtype=np.int64), EXPERIENCES, 1)
        with pytest.raises(DataError) as caught:
            batches_of(sampler, workers)
        assert str(caught.value) == "The image 199.jpg cannot be decoded.\nRepair it."

    def test_a_transform_that_scales_is_refused(self) -> None:
        scaled = v2.ToDtype(torch.float32, scale=True)
        data = SampleDataset(Loaded(load), np.zeros(200, dtype=np.int64), scaled, scaled)
        with pytest.raises(ConfigError, match=r"it gave float32 \(3, 6, 6\). Leave out ToDtype"):
            data[Draw(0, 0, -1, True, False)]

    def test_images_of_different_sizes_are_refused(self) -> None:
        items = [{"image": torch.zeros(3, side, 4, dtype=torch.uint8), "memory": False} for side in (4, 5)]
        with pytest.raises(ConfigError, match=r"different sizes .*\[\(3, 4, 4\), \(3, 5, 4\)\]"):
            collate(items)
