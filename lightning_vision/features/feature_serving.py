"""Decides whether images pass through the backbone in every epoch, or once, with cached features."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from lightning.pytorch import Trainer

from lightning_vision.array_types import Rows
from lightning_vision.class_path import class_path, strategy_name
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.process_group import sum_over_processes
from lightning_vision.errors import ConfigError
from lightning_vision.features.feature_cache import FeatureCache, FeatureCounts
from lightning_vision.features.feature_function import FeatureFunction
from lightning_vision.images.transform_identity import same_transform
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.placement import place
from lightning_vision.learning.strategy import Strategy
from lightning_vision.learning.strategy_features import has_own_features
from lightning_vision.results import schema


def why_no_cache(datamodule: StreamDataModule, precision: str, one_view: bool = False) -> str:
    """Why features of this data cannot be cached, whatever the backbone; empty if they can.

    Args:
        datamodule: The data.
        precision: ``trainer.precision``.
        one_view: Images are looked at in one view, even if they are evaluated in several.
    """
    if datamodule.feature_cache_gb == 0:
        return "data.feature_cache_gb is 0"
    if datamodule.annotations:
        return "data.annotations are served with the images"
    if datamodule.test_transform is not None and not one_view:
        return "each image is evaluated in several views"
    if precision.startswith("64"):
        return f"trainer.precision is {precision}"
    return ""


def why_images(learner: Strategy, datamodule: StreamDataModule, precision: str, *, training: bool) -> str:
    """The reason why a learner needs images and not features; empty if it does not need them.

    Args:
        learner: The strategy that learns or predicts.
        datamodule: Its data.
        precision: ``trainer.precision``.
        training: True for training, False for evaluation.
    """
    if not learner.freezes_backbone:
        return "the strategy trains the backbone"
    if learner.needs_images:
        return "the strategy needs the images themselves"
    if reason := why_no_cache(datamodule, precision):
        return reason
    if not training or learner.kind == "closed_form":
        return ""
    if datamodule.batch_transform:
        return "data.batch_transforms change the images of each batch"
    if datamodule.views is None and not same_transform(datamodule.train_transform, datamodule.eval_transform):
        return "each epoch augments them differently (data.views=0 trains on the features of evaluation, data.views=4 on those of 4 augmented views drawn once)"
    return ""


class FeatureServing:
    """Lets the loaders of a run serve features instead of images while the backbone does not change.

    Args:
        model: The classifier.
        datamodule: Its data.
        say: Shows a line to the user.
        ends_with_base: The run only trains the base, from which others start.
    """

    def __init__(
        self,
        model: ContinualClassifier,
        datamodule: StreamDataModule,
        say: Callable[[str], None],
        ends_with_base: bool = False,
    ) -> None:
        self.model, self.datamodule, self.say, self.ends_with_base = model, datamodule, say, ends_with_base
        self.cache: FeatureCache | None = None
        self.record: schema.Features | None = None
        """For results.json, over all processes, up to the last finished experience."""
        self._before: schema.Features | None = None
        self._why = self._failure = ""
        self._told: set[str] = set()
        self.counts = FeatureCounts()
        """The counts of this process since it started."""

    def open(self, trainer: Trainer, device: torch.device, before: schema.Features | None) -> None:
        """Open the feature cache, if a strategy of this run freezes the backbone or other runs have the same one.

        Args:
            trainer: Gives the processes and the precision.
            device: The device of this process.
            before: The record of an earlier part of this run.
        """
        self.record = self._before = before
        self.device, self.precision = device, str(trainer.precision)
        if not (self._freezes() or self.ends_with_base or self.model.base_checkpoint is not None):
            return
        try:
            folder = self.datamodule.feature_folder()
        except ConfigError as error:
            self._failure = f"there is no folder for their features: {error}"
            return
        self.cache = FeatureCache(
            self.model.network,
            self.datamodule,
            folder,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            device=device,
            precision=self.precision,
            context=trainer.precision_plugin.forward_context,
            channels_last=self.model.channels_last,
            counts=self.counts,
        )

    def for_training(self, learner: Strategy, changed_by: str = "") -> bool:
        """Choose between images and features for a stage, and print the choice.

        Args:
            learner: The strategy that learns.
            changed_by: The recipes that change its training images, if any do.

        Returns:
            Whether its training uses features; validation may use features even if training does not.
        """
        self.for_evaluation(learner)
        reason = why_images(learner, self.datamodule, self.precision, training=True) or self._failure
        if not reason and changed_by and learner.kind == "gradient":
            reason = f"{changed_by} changes the images"
        name = strategy_name(class_path(learner))
        if reason:
            self._tell(f"{name}: images pass through the backbone in every epoch, because {reason}.")
        else:
            self._tell(
                f"{name} does not change the backbone: each image passes through it once, and its features are cached."
            )
        if learner is self.model.strategy:
            self._why = reason
        return not reason

    def for_evaluation(self, learner: Strategy) -> None:
        """Choose between images and features for a strategy that does not change the backbone any more, except in training."""
        self._serve(not why_images(learner, self.datamodule, self.precision, training=False), learner)

    def for_predictions(self) -> None:
        """Choose between images and features for the evaluation of the network, whether or not its strategy trains the backbone.

        The backbone is in evaluation mode there, so its features are those of all runs with the same weights.
        """
        learner = self.model.learner
        images = learner.needs_images or why_no_cache(self.datamodule, self.precision)
        moves = has_own_features(learner) and not learner.freezes_backbone
        self._serve(not images and not moves and self._needed_again(), learner)

    def _serve(self, features: bool, learner: Strategy) -> None:
        """Let the loaders serve the features that a learner is given, or images."""
        self.datamodule.read_features = None
        if features and self.cache is not None:
            self.cache.use(FeatureFunction(self.model.network, learner, self.model.image_size))
            self.datamodule.read_features = self.cache.take

    def _freezes(self) -> bool:
        """Whether a strategy of this run freezes the backbone."""
        return self.model.strategy.freezes_backbone or self.model.base_strategy.freezes_backbone

    def _needed_again(self) -> bool:
        """Whether features of the backbone as it is are needed again, by this run or by others with the same weights.

        Those of weights that are only passed through on the way would take the place of others on the disk.
        """
        model, first, learned = self.model, self.datamodule.stream[0], self.model.experience
        trains_base = first.is_base and model.base_checkpoint is None
        keeps_base = not trains_base or model.base_strategy.freezes_backbone
        if model.strategy.freezes_backbone and (keeps_base or learned is not None):
            return True
        if learned is not None and self.ends_with_base:
            return True
        options = model.hparams  # a subclass may have others
        loaded = model.base_checkpoint or options.get("pretrained") or options.get("backbone_weights")
        unchanged = learned is None or (keeps_base and learned.is_base)
        return unchanged and bool(loaded or (trains_base and keeps_base))

    def compute_for_stage(self, learner: Strategy, training: bool, validates: bool) -> None:
        """Compute the features that the entered stage needs.

        Args:
            learner: The strategy that learns.
            training: Its training uses features.
            validates: It has a validation part.
        """
        validation: Rows = self.datamodule.rows_to_validate() if validates else np.empty(0, dtype=np.int64)
        if not training:
            self.compute(validation)
            return
        memory = learner.memory()
        remembered: Rows = np.empty(0, dtype=np.int64) if memory is None else memory.cpu().numpy()
        rows = np.concatenate([self.datamodule.rows_to_train(), remembered])
        if learner.kind == "gradient" and self.datamodule.views:
            self.compute(validation)
            self.compute(rows, views=True)
        else:  # of one view: in one pass, because starting a loader takes a third of a second
            self.compute(np.concatenate([validation, rows]))

    def compute(self, rows: Rows, views: bool = False) -> None:
        """Compute the features that are missing for these rows; serve images if they cannot be cached.

        Args:
            rows: Rows of the sample table.
            views: Features of the augmented views, if there are some; otherwise of evaluation.
        """
        if self.cache is None or self.datamodule.read_features is None or len(rows) == 0:
            return
        place(self.model, self.device)
        reason = self.cache.ensure(rows, views)
        if reason:
            self._failure = reason
            if self._freezes():
                self._tell(f"From now on images pass through the backbone in every epoch: {reason}.")
                self._why = reason
            self.cache.close()
            self.cache = self.datamodule.read_features = None

    def update_record(self) -> None:
        """Add the counts of an experience over all processes to ``record``."""
        computed = sum_over_processes(torch.tensor(self.counts.computed, device=self.device))
        before = self._before
        self.record = schema.Features(
            cached=not self._why,
            reason=self._why,
            computed=int(computed) + (before.computed if before else 0),
            reused=self.counts.reused + (before.reused if before else 0),
            seconds=self.counts.seconds + (before.seconds if before else 0.0),
            saved_seconds=self.counts.saved_seconds + (before.saved_seconds if before else 0.0),
            smallest_cosine=self.counts.cosine
            if self.counts.cosine is not None
            else before.smallest_cosine
            if before
            else None,
        )

    def close(self) -> None:
        """Close the feature cache; loaders serve images again."""
        self.datamodule.read_features = None
        if self.cache is not None:
            self.cache.close()

    def _tell(self, text: str) -> None:
        """Print a text unless it was printed before."""
        if text not in self._told:
            self._told.add(text)
            self.say(text)
