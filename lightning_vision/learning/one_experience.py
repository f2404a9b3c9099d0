"""Lets a plain Trainer train and evaluate one experience, without a stream run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_vision.array_types import Rows
from lightning_vision.data.batch import Batch
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.stream import Experience
from lightning_vision.errors import CheckpointError, ConfigError
from lightning_vision.images.batch_transforms import BatchTransforms
from lightning_vision.learning.backbones import input_size_is_fixed
from lightning_vision.learning.evaluation_figures import EvaluationFigures
from lightning_vision.learning.learner_checks import check_classes, check_learner, check_one_epoch
from lightning_vision.learning.network import Network
from lightning_vision.learning.prediction import select_best_variant
from lightning_vision.learning.served_data import data_for
from lightning_vision.learning.stage_tally import place_in_epoch
from lightning_vision.learning.strategy import Strategy, gathers_base_data
from lightning_vision.learning.strategy_features import feature_width
from lightning_vision.results.predictions import Collector, Predictions
from lightning_vision.seeding import derive_seed

SEED_VARIABLE = "PL_GLOBAL_SEED"
"""The environment variable in which Lightning's ``seed_everything`` stores its seed."""


class Learner(Protocol):
    """The parts of a ``ContinualClassifier`` that are used here."""

    class_names: list[str]
    image_size: int
    image_size_given: bool
    base_checkpoint: str | None
    network: Network
    strategy: Strategy
    base_strategy: Strategy
    experience: Experience | None
    base_statistics: bool
    batch_transform: BatchTransforms | None
    picked_variant: str
    collectors: list[Collector]
    evaluation: EvaluationFigures
    loaded: Mapping[str, Any] | None

    @property
    def hparams(self) -> Any:
        """The options that a checkpoint keeps."""

    @property
    def seed(self) -> int:
        """Of the run."""

    @seed.setter
    def seed(self, seed: int) -> None: ...

    @property
    def learner(self) -> Strategy:
        """The strategy that learns the current experience."""

    def build_network(self, class_names: list[str], image_size: int) -> None:
        """Build the network, once the data is known."""

    def begin_experience(self, experience: Experience) -> None:
        """Let the strategies prepare."""

    def begin_stage(self, stage: str) -> list[nn.Parameter]:
        """Choose what is trained."""

    def normalised(self, batch: Batch) -> Batch:
        """The batch as the network expects it."""

    def update_closed_form(self, batch: Batch, batch_idx: int, total: int) -> None:
        """One batch of a closed form."""

    def predict_logits(self, batch: Batch) -> Tensor | Mapping[str, Tensor]:
        """The variant of the learner's prediction that is used."""


class OneExperience(Callback):
    """Begins and ends a datamodule's current experience under a plain Trainer.

    Args:
        model: The Trainer's classifier.
    """

    def __init__(self, model: Learner) -> None:
        self.model = model

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Prepare the classifier for what the Trainer is about to do.

        Raises:
            UserError: Classifier, datamodule and Trainer do not fit together.
        """
        model, datamodule = self.model, data_of(trainer)
        model.collectors = []
        model.evaluation.begin()
        fits = trainer.state.fn == TrainerFn.FITTING
        if datamodule is None and model.class_names and not fits:
            return  # the user's own loaders
        if not isinstance(datamodule, StreamDataModule):
            found = "dataloaders alone" if datamodule is None else type(datamodule).__name__
            raise ConfigError(
                f"Expected a StreamDataModule as the datamodule of a ContinualClassifier, found {found}. Use for example "
                "trainer.fit(classifier, datamodule=ImageFolder('photos'))."
            )
        experience = _match_data(model, datamodule)
        if fits:
            _check(model, trainer, datamodule, experience)
            _begin(model, datamodule, experience)
        elif model.experience is None and model.loaded is not None:
            _stand_at(model, datamodule, model.loaded)
        elif model.experience is None:
            model.begin_experience(experience)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Select the rows that the loaded strategy remembers, which it did not know in ``setup``, after those that are done."""
        if trainer.state.fn == TrainerFn.FITTING:
            _enter(self.model, data_of(trainer), *place_in_epoch(checkpoint))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the experience as a run does: base data of a closed form, ``after_experience``, the best of several variants."""
        model, experience = self.model, self.model.experience
        datamodule: StreamDataModule = data_of(trainer)
        if experience is None:
            return
        place = (trainer.global_rank, trainer.world_size)
        ordered = datamodule.ordered_loader(experience.index, *place)

        def load(rows: Rows) -> DataLoader[Any]:
            return datamodule.ordered_loader(experience.index, *place, rows)

        batches = OrderedBatches(model, trainer, ordered, load)
        model.network.eval()
        if experience.is_base and gathers_base_data(model.strategy):
            torch.manual_seed(derive_seed(model.seed, "stage", experience.index, 1))
            model.base_statistics = True
            model.begin_stage("base data")
            sizes = ordered.batch_sampler.global_sizes  # type: ignore[union-attr] # a TrainBatches
            with trainer.precision_plugin.forward_context():
                for batch_idx, batch in enumerate(batches.all()):
                    model.update_closed_form(batch, batch_idx, sizes[batch_idx])
        torch.manual_seed(derive_seed(model.seed, "after", experience.index))
        for strategy in [model.base_strategy, model.strategy] if experience.is_base else [model.strategy]:
            strategy.after_experience(model.network, experience, batches)
        model.network.eval()
        validation = datamodule.evaluation_loader("val", experience.index, *place)
        _pick(model, trainer, OrderedBatches(model, trainer, validation))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the test set's means over all processes."""
        self.model.evaluation.log(pl_module.log, "test")


def one_experience_of(model: Learner, trainer: Trainer) -> list[Callback]:
    """The callback that a Trainer needs for a classifier; empty if the Trainer has it from an earlier call."""
    present: list[Callback] = trainer.callbacks  # type: ignore[attr-defined] # set by Lightning from outside
    known = any(isinstance(callback, OneExperience) and callback.model is model for callback in present)
    return [] if known else [OneExperience(model)]


class OrderedBatches:
    """Iterates over batches in their order, on the device, without those that hold stand-ins only.

    Args:
        model: Normalises the images.
        trainer: Gives the device.
        loader: Loads the batches.
        load: Makes the loader of other rows; None: there are no others.
    """

    def __init__(
        self,
        model: Learner,
        trainer: Trainer,
        loader: DataLoader[Any],
        load: Callable[[Rows], DataLoader[Any]] | None = None,
    ) -> None:
        self.model, self.trainer, self.loader, self.load = model, trainer, loader, load

    def of(self, rows: Tensor) -> OrderedBatches:
        """The batches of other rows (M,)."""
        if self.load is None:
            raise TypeError("These batches are of an evaluation, which has no other rows.")
        loader = self.load(rows.detach().cpu().numpy().astype(np.int64))
        return OrderedBatches(self.model, self.trainer, loader, self.load)

    def all(self) -> Iterator[Batch]:
        """Include those that hold stand-ins only: the number is the same on each process."""
        for batch in self.loader:
            moved: Batch = move_data_to_device(batch, self.trainer.strategy.root_device)
            yield self.model.normalised(moved)

    def __iter__(self) -> Iterator[Batch]:
        return (batch for batch in self.all() if batch["valid"].any())


def data_of(trainer: Trainer) -> Any:
    """The datamodule that a Trainer was given, or None."""
    return trainer.datamodule  # type: ignore[attr-defined] # set by Lightning from outside


def take_data(model: Learner, class_names: list[str], image_size: int) -> None:
    """Give a classifier the classes and the image size of the data if it has none.

    Raises:
        ConfigError: The image sizes differ.
    """
    if not model.class_names:
        model.build_network(class_names, model.image_size if model.image_size_given else image_size)
    elif not model.image_size_given and not input_size_is_fixed(model.network.facts.name):
        model.image_size = image_size
    if model.image_size != image_size:
        raise ConfigError(
            f"The classifier takes images of {model.image_size} pixels a side, and the datamodule gives images of {image_size}. "
            "Give both the same image_size."
        )
    model.image_size_given = True
    model.hparams["image_size"] = image_size


def take_place(model: Learner, trainer: Trainer | None, checkpoint: Mapping[str, Any]) -> None:
    """Prepare to continue where a checkpoint was written; ``OneExperience`` selects the batches of its epoch that are not done.

    Args:
        model: The classifier into which its state is about to be loaded.
        trainer: The plain Trainer that loads it; None: ``load_from_checkpoint``.
        checkpoint: What the file holds.

    Raises:
        CheckpointError: It was written during another experience than the current one.
    """
    saved: Mapping[str, Any] = checkpoint["lightning_vision"]
    model.loaded, model.picked_variant, model.seed = saved, saved["picked_variant"], saved.get("seed", 0)
    datamodule = None if trainer is None else data_of(trainer)
    if trainer is None or datamodule is None:
        return
    if trainer.state.fn != TrainerFn.FITTING:
        _stand_at(model, datamodule, saved)
        return
    index = -1 if model.experience is None else model.experience.index
    if saved["experience"] != index:
        raise CheckpointError(
            f"The checkpoint was written in experience {saved['experience']}, and the datamodule's current experience is "
            f"{index}. Choose the checkpoint's experience to continue it, or fit load_from_checkpoint(path) without ckpt_path "
            "to learn another one."
        )


def _match_data(model: Learner, datamodule: StreamDataModule) -> Experience:
    """Give classifier and data one class list and one image size; returns the current experience."""
    datamodule.prepared.serve_base(not model.strategy.learns_base)
    current = datamodule.current_experience.index
    take_data(model, datamodule.class_names, datamodule.image_size)
    check_classes(model.class_names, datamodule.batch_transform)
    if model.class_names != datamodule.class_names:
        datamodule.use_class_names(model.class_names)
    datamodule.enter(current, model.seed)
    return datamodule.stream[current]


def _stand_at(model: Learner, datamodule: StreamDataModule, saved: Mapping[str, Any]) -> None:
    """Prepare the strategies of a loaded checkpoint for prediction; none of their hooks runs again."""
    if saved["experience"] >= 0:
        model.experience = datamodule.stream.reached(saved["experience"], saved["is_base"])
        model.base_statistics = gathers_base_data(model.strategy)


def _check(model: Learner, trainer: Trainer, datamodule: StreamDataModule, experience: Experience) -> None:
    """Refuse what cannot work, before anything changes."""
    learner = model.base_strategy if experience.is_base else model.strategy
    name = type(learner).__name__
    if model.base_checkpoint and model.loaded is None:
        raise ConfigError(
            f"base_checkpoint={model.base_checkpoint!r} is loaded by a stream run only. With a plain Trainer use "
            "ContinualClassifier.load_from_checkpoint(path), and fit the classifier that it returns."
        )
    if trainer.ckpt_path is None and trainer.max_epochs == trainer.current_epoch > 0:
        raise ConfigError(
            f"This Trainer has trained its max_epochs={trainer.max_epochs} before, so that it would train nothing. Make a new "
            "Trainer for each fit, with new callbacks: EarlyStopping compares with what it saw before."
        )
    check_learner(learner, datamodule.stream.scenario, [experience], datamodule.val_fraction)
    if datamodule.scenario.online and not experience.is_base:
        check_one_epoch(learner, trainer.max_epochs)
    learner.check_network(model.network)
    stages = learner.stages(experience)
    if len(stages) != 1:
        raise ConfigError(
            f"{name} trains in {len(stages)} stages ({', '.join(map(repr, stages))}), each with a Trainer of its own, so a "
            "plain Trainer cannot train it. Use a stream run: python -m lightning_vision fit."
        )
    if learner.kind == "closed_form" and trainer.max_epochs != learner.passes:
        raise ConfigError(
            f"{name} is a closed form: expected Trainer(max_epochs={learner.passes}), found {trainer.max_epochs}."
        )


def _begin(model: Learner, datamodule: StreamDataModule, experience: Experience) -> None:
    """Begin an experience as a run does, with one stage."""
    if SEED_VARIABLE in os.environ:
        model.seed = int(os.environ[SEED_VARIABLE])
    if model.experience is None and model.loaded is None:
        for strategy in (model.base_strategy, model.strategy):
            strategy.before_stream(model.network)
    model.batch_transform = datamodule.batch_transform
    weights = datamodule.class_weight_values()
    model.network.class_weights = None if weights is None else torch.tensor(weights, dtype=torch.float32)
    model.base_statistics, model.picked_variant = False, ""
    torch.manual_seed(derive_seed(model.seed, "experience", experience.index))
    model.begin_experience(experience)
    torch.manual_seed(derive_seed(model.seed, "stage", experience.index, 0))
    model.begin_stage(model.learner.stages(experience)[0])
    _enter(model, datamodule)


def _enter(model: Learner, datamodule: StreamDataModule, epoch: int = 0, start_batch: int = 0) -> None:
    """Select the experience in the datamodule, starting at a batch of an epoch."""
    experience = model.experience or datamodule.current_experience
    how = data_for(model.learner, experience, epoch=epoch, start_batch=start_batch)
    datamodule.enter(experience.index, model.seed, **how)


@torch.no_grad()
def _pick(model: Learner, trainer: Trainer, batches: OrderedBatches) -> None:
    """Use the variant that is best on the validation parts so far as the network's head."""
    weight = model.network.classifier.weight
    width = feature_width(model.learner, model.network, model.image_size)
    tried = model.learner.predict(model.network, weight.new_zeros(1, width))
    if not isinstance(tried, Mapping):
        return

    def validate() -> Predictions:
        collector = Collector()
        with trainer.precision_plugin.forward_context():
            for batch in batches.all():
                collector.add(batch, model.predict_logits(batch), model.network.mask_unseen)
        return collector.result(weight.device)

    model.picked_variant = select_best_variant(model.learner, model.network, list(tried), validate)
