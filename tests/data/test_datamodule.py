"""What every datamodule shares: the split, the stream, the loaders and their place among the processes."""

import json
import pickle
from itertools import zip_longest
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from lightning_vision.array_types import Rows
from lightning_vision.data.batch import Batch
from lightning_vision.data.batch_order import TrainBatches
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.scenarios import ClassIncremental, InstanceIncremental, Scenario
from lightning_vision.data.stream_loaders import Entered, StreamLoaders
from lightning_vision.errors import ConfigError, DataError


class Plain(StreamDataModule):
    """160 images of four classes, each of one colour that tells its row."""

    def __init__(self, stream: Scenario | None = None, val_fraction: float = 0.1, num_workers: int = 0) -> None:
        super().__init__("", 8, num_workers, 8, val_fraction, stream=stream)

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        labels = np.arange(160, dtype=np.int64) % 4
        paths = [f"{row}.png" for row in range(160)]
        return pd.DataFrame({"path": paths, "label": labels, "split": ""}), ["ant", "bee", "cat", "dog"]

    def load_image(self, index: int) -> Tensor:
        return torch.full((3, 10, 12), index, dtype=torch.uint8)


class Recorder(pl.LightningModule):
    """Notes the rows that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.epochs: list[list[int]] = []
        self.validated: list[int] = []
        self.tested: list[int] = []

    def on_train_epoch_start(self) -> None:
        self.epochs.append([])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.epochs[-1] += batch["index"].tolist()
        return self.weight.sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.validated += batch["index"].tolist()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.tested += batch["index"].tolist()

    def predict_step(self, batch: Batch, batch_idx: int) -> list[int]:
        rows: list[int] = batch["index"].tolist()
        return rows

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(**options: Any) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return pl.Trainer(**{**quiet, "use_distributed_sampler": False, "enable_checkpointing": False, **options})


def batches_of(loader: Any) -> list[list[int]]:
    return [batch["index"][batch["valid"]].tolist() for batch in loader]


def rows_of(loader: Any) -> list[int]:
    return [row for batch in loader for row in batch["index"].tolist()]


def test_it_reads_splits_and_builds_when_made() -> None:
    data = Plain()
    assert (data.num_classes, len(data.stream), data.scenario.name) == (4, 5, "InstanceIncremental")
    assert data.samples["split"].value_counts().to_dict() == {"train": 115, "test": 32, "val": 13}
    again = Plain()
    assert (again.split_hash, again.stream.hash) == (data.split_hash, data.stream.hash)
    assert Plain(val_fraction=0.2).split_hash != data.split_hash


def test_the_loaders_serve_the_entered_experience() -> None:
    data = Plain()
    data.enter(2, seed=7)
    loader = data.train_dataloader()
    assert sorted(rows_of(loader)) == sorted(data.stream[2].indices)
    assert rows_of(data.val_dataloader()) == data.stream[2].val_indices.tolist()
    batch = next(iter(loader))
    assert batch["image"].shape[1:] == (3, 8, 8)
    assert batch["experience"].unique().tolist() == [2]
    assert batch["image"][:, 0, 0, 0].tolist() == batch["index"].tolist()
    assert batch["label"].tolist() == [row % 4 for row in batch["index"].tolist()]
    data.enter(2, seed=8)
    assert rows_of(data.train_dataloader()) != rows_of(loader)
    data.enter(2, seed=7, shuffle=False)
    assert rows_of(data.train_dataloader()) == data.stream[2].indices.tolist()
    data.enter(2, seed=7, memory=torch.tensor([3, 5]), memory_size=2)
    memory = next(iter(data.train_dataloader()))["memory"]
    assert sorted(memory["index"].tolist()) == [3, 5]
    assert not rows_of(Plain(val_fraction=0).val_dataloader())


def test_evaluation_loaders() -> None:
    data = Plain(ClassIncremental(4))
    assert rows_of(data.evaluation_loader("test")) == np.flatnonzero(data.samples["split"] == "test").tolist()
    seen = [data.stream[number].val_indices for number in range(3)]
    assert rows_of(data.evaluation_loader("val", 2)) == sorted(np.concatenate(seen))
    striped = [rows_of(data.evaluation_loader("val", 2, rank, 2)) for rank in range(2)]
    assert sorted(striped[0] + striped[1]) == rows_of(data.evaluation_loader("val", 2))
    assert rows_of(data.test_dataloader()) == rows_of(data.evaluation_loader("test", None))


def test_the_ordered_loader_keeps_the_streams_order_over_processes() -> None:
    data = Plain()
    order = data.stream[0].indices.tolist()
    assert rows_of(data.ordered_loader(0)) == order
    striped = [
        [batch["index"][batch["valid"]].tolist() for batch in data.ordered_loader(0, rank, 2)] for rank in range(2)
    ]
    together = []
    for one, two in zip(*striped, strict=True):
        pairs = [list(pair) for pair in zip_longest(one, two)]
        together += [row for pair in pairs for row in pair if row is not None]
    assert together == order


def test_use_class_names_relabels_by_name() -> None:
    data = Plain()
    before, split_before = data.samples, data.split_hash
    names = ["dog", "eel", "cat", "bee", "ant"]
    data.use_class_names(names)
    assert data.class_names == names and data.num_classes == 5
    assert data.samples["label"].tolist() == [[4, 3, 2, 0][label] for label in before["label"]]
    assert data.samples["split"].equals(before["split"])
    assert data.split_hash != split_before
    assert data.stream[0].classes == (0, 2, 3, 4)
    batch = next(iter(data.train_dataloader()))
    assert batch["label"].tolist() == [[4, 3, 2, 0][row % 4] for row in batch["index"].tolist()]
    with pytest.raises(
        DataError, match=r"a class that the classifier does not know: 'bee'. It knows 'ant', 'cat', 'dog'"
    ):
        Plain().use_class_names(["ant", "cat", "dog"])


def test_describe_can_be_written_as_json() -> None:
    facts = json.loads(json.dumps(Plain(InstanceIncremental(3)).describe()))
    assert facts["class_path"].endswith(".Plain")
    assert facts["init_args"]["stream"]["init_args"] == {"experiences": 3, "base_fraction": 0.5, "seed": 0}
    assert facts["samples"] == {"train": 115, "val": 13, "test": 32}
    assert set(facts["samples_per_class"]) == {"ant", "bee", "cat", "dog"}
    assert sum(facts["samples_per_class"]["ant"].values()) == 40


def test_lightning_sets_the_epoch() -> None:
    data, model = Plain(num_workers=1), Recorder()
    data.enter(1, seed=3)
    trainer(max_epochs=3).fit(model, datamodule=data)
    batches = TrainBatches(data.stream[1].indices, np.ones(160, dtype=np.int64), 8, seed=3, experience=1)
    for epoch, found in enumerate(model.epochs):
        batches.set_epoch(epoch)
        assert found == [draw.index for batch in batches for draw in batch]
    assert len(model.epochs) == 3
    assert sorted(set(model.validated)) == sorted(data.stream[1].val_indices)


def test_a_plain_trainer_trains_and_evaluates_the_first_experience() -> None:
    data, model = Plain(), Recorder()
    assert data.current_experience is data.stream[0]
    plain = trainer(max_epochs=2)
    plain.fit(model, datamodule=data)
    batches = TrainBatches(data.stream[0].indices, np.zeros(160, dtype=np.int64), 8, seed=data.seed, experience=0)
    for epoch, found in enumerate(model.epochs):
        batches.set_epoch(epoch)
        assert found == [draw.index for batch in batches for draw in batch]
    assert model.epochs[0] != model.epochs[1]
    assert set(model.validated) == set(data.stream[0].val_indices.tolist())
    plain.test(model, datamodule=data, verbose=False)
    assert model.tested == np.flatnonzero(data.samples["split"] == "test").tolist()


def test_a_plain_trainer_trains_and_evaluates_the_chosen_experience() -> None:
    data, model = Plain(ClassIncremental(4)), Recorder()
    data.use_experience(2)
    assert data.current_experience is data.stream[2]
    plain = trainer(max_epochs=1, num_sanity_val_steps=0)
    plain.fit(model, datamodule=data)
    assert sorted(model.epochs[0]) == sorted(data.stream[2].indices)
    assert model.validated == data.stream[2].val_indices.tolist(), "as in a run: its own part"
    model.validated = []
    plain.validate(model, datamodule=data, verbose=False)
    assert model.validated == data.rows_to_evaluate("val", 2).tolist(), "all parts up to it"
    assert len(model.validated) > len(data.stream[2].val_indices)
    plain.test(model, datamodule=data, verbose=False)
    assert model.tested == data.rows_to_evaluate("test").tolist()
    augmented = next(iter(data.train_dataloader()))
    again = next(iter(data.train_dataloader()))
    assert torch.equal(augmented["image"], again["image"]), "a function of seed, experience and epoch"


def test_processes_share_the_images_of_the_chosen_experience() -> None:
    data = Plain()
    data.use_experience(1)
    shares = [
        StreamLoaders(data.stream, data.image_dataset, None, 0, 4, 0, "none", rank, 2).training(Entered(1, data.seed))
        for rank in range(2)
    ]
    together = [sorted(rows) for rows in zip(*map(batches_of, shares), strict=True)]
    alone = [sorted(rows) for rows in batches_of(data.train_dataloader())]
    assert [sorted(one + two) for one, two in together] == alone


@pytest.mark.parametrize(("views", "seeded"), [(None, False), (0, False), (3, True)])
def test_a_seed_is_drawn_for_each_row_only_where_it_chooses_among_features(views: int | None, seeded: bool) -> None:
    data, asked = Plain(), []

    def read(rows: Rows, seeds: Rows) -> Tensor:
        asked.extend(seeds.tolist())
        return torch.zeros(len(rows), 5)

    data.views, data.read_features = views, read
    data.enter(1, 3, features=True)
    features = [batch["features"] for batch in data.train_dataloader()]
    assert sum(map(len, features)) == len(asked) == len(data.stream[1].indices)
    assert all(seed >= 0 for seed in asked) if seeded else set(asked) == {-1}
    data.enter(1, 3)
    draws = [draw for batch in data.train_dataloader().batch_sampler for draw in batch]  # type: ignore[union-attr]
    assert all(draw.seed >= 0 for draw in draws), "images are augmented"


def test_features_are_evaluated_in_large_batches_and_images_in_those_of_the_option() -> None:
    """A closed form multiplies each batch by matrices of the features' size."""
    data = Plain()
    images = [batch["index"].tolist() for batch in data.test_dataloader()]
    assert len(images) > 1 and max(map(len, images)) <= data.batch_size
    data.read_features = lambda rows, _: torch.zeros(len(rows), 5)
    (features,) = [batch["index"].tolist() for batch in data.test_dataloader()]
    assert features == [row for rows in images for row in rows]
    shares = [next(iter(data.evaluation_loader("test", rank=rank, world_size=2)))["index"].tolist() for rank in (0, 1)]
    assert sorted(shares[0] + shares[1]) == features
    assert all(len(batch["index"]) <= data.batch_size for batch in data.train_dataloader()), (
        "learning takes the option's"
    )


@pytest.mark.parametrize("number", [5, -1, True, 1.0, "1"])
def test_there_is_no_such_experience(number: Any) -> None:
    data = Plain()
    with pytest.raises(ConfigError, match=rf"the number of an experience, from 0 to 4, found {number!r}"):
        data.use_experience(number)
    assert data.current_experience.index == 0


def test_lightning_predicts_each_test_image_once() -> None:
    data = Plain()
    found = trainer().predict(Recorder(), datamodule=data)
    assert found is not None
    assert [row for batch in found for row in batch] == np.flatnonzero(data.samples["split"] == "test").tolist()


def test_a_worker_process_can_be_sent_the_datamodule() -> None:
    data = Plain()
    data.trainer = trainer()
    copy = pickle.loads(pickle.dumps(data))
    assert copy.trainer is None
    assert torch.equal(copy.load_image(3), data.load_image(3))
    assert data.trainer is not None


@pytest.mark.parametrize(("option", "value"), [("batch_size", 0), ("num_workers", -1), ("image_size", 0)])
def test_numbers_that_make_no_sense(option: str, value: int) -> None:
    class Numbered(Plain):
        def __init__(self) -> None:
            StreamDataModule.__init__(self, "", **{option: value})  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match=rf"data\.{option} must be at least \d, not {value}"):
        Numbered()
