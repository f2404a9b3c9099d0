"""Features of images by a checkpoint, for what is done with a checkpoint after its run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.array_types import Rows
from lightning_vision.data.batch_order import EvalBatches
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.loaders import make_loader
from lightning_vision.errors import ConfigError
from lightning_vision.features.cached_images import Images
from lightning_vision.features.feature_cache import FeatureCache, FeatureCounts
from lightning_vision.features.feature_function import FeatureFunction
from lightning_vision.features.feature_pass import AT_ONCE, FeaturePass, handed_over
from lightning_vision.features.feature_serving import why_no_cache
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.strategy_features import has_own_features
from lightning_vision.terminal.messages import print_line
from lightning_vision.terminal.progress_bar import progress_bar

SERVED_AT_ONCE = 512
"""Cached features of this many images are read at once."""


@dataclass(frozen=True)
class Passed:
    """A batch of B images, on the CPU."""

    index: Rows
    """(B,) their rows."""
    label: Tensor
    """(B,) int64"""
    features: Tensor
    """(B, D') float32"""
    image: Tensor | None
    """(B, 3, H, W) uint8, as the network is given them; None if they were not asked for."""


class CheckpointFeatures:
    """Gives the features of any images that the strategy of a classifier is given, by the options of its run.

    If the strategy freezes the backbone, and computes no features of its own from images, they come from the feature cache: an image passes it once in all runs, checkpoints
    and calls. Otherwise they are computed whenever they are asked for. Both use the fastest way through the backbone.

    Use it in a ``with`` statement: the classifier is in evaluation mode and on the Trainer's device until it ends. Its
    weights may change in between.

    Args:
        model: The classifier.
        datamodule: The data of its run.
        trainer: Knows the device and the precision.
    """

    def __init__(self, model: ContinualClassifier, datamodule: StreamDataModule, trainer: Trainer) -> None:
        self.model, self.datamodule = model, datamodule
        self.device, self.precision = trainer.strategy.root_device, str(trainer.precision)
        folder: Path | None = None
        failure = ""
        try:
            folder = datamodule.feature_folder()
        except ConfigError as error:
            failure = f"there is no folder for them: {error}"
        self._folder, self._failure = folder, failure
        self._context = trainer.precision_plugin.forward_context
        kept = None if folder is None else folder / "feature_pass.json"
        self.passing = FeaturePass(model.network, self.device, self._context, kept, model.channels_last)
        self._caches: list[tuple[Images, FeatureCache]] = []
        self._stack = ExitStack()

    def __enter__(self) -> CheckpointFeatures:
        """Evaluation mode, on the device."""
        model, before = self.model, self.model.device
        training = [module for module in model.modules() if module.training]
        model.eval()
        model.to(self.device)

        def restore() -> None:
            for _, cache in self._caches:
                cache.close()
            model.to(before)
            for module in training:
                module.training = True

        self._stack.callback(restore)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def _cached(self) -> bool:
        """Whether features are cached."""
        model, learner = self.model, self.model.learner
        kept = model.strategy.freezes_backbone and not why_no_cache(self.datamodule, self.precision, one_view=True)
        own = has_own_features(learner) and (learner.needs_images or not learner.freezes_backbone)
        return kept and not own and not self._failure

    def batches(self, images: Images, rows: Rows, what: str, with_images: bool = False) -> Iterator[Passed]:
        """Features of rows (N,) of images, in their order; a batch is freed when the next is requested.

        Args:
            images: The datamodule, or other images that are opened by its options.
            rows: (N,)
            what: The images, for the progress bar.
            with_images: The images themselves are needed too.
        """
        self._use_learner()
        cache = self._ensured(images, rows)
        if cache is None:
            yield from self._computed(images, rows, what, with_images)
        elif with_images:
            for batch in self._loaded(images, rows, f"loading {what}"):
                index = batch["index"].numpy()
                yield Passed(index, batch["label"], _read(cache, index), batch["image"])
        else:
            labels = images.image_dataset().labels
            for start in range(0, len(rows), SERVED_AT_ONCE):
                part = rows[start : start + SERVED_AT_ONCE]
                yield Passed(part, torch.from_numpy(labels[part]), _read(cache, part), None)

    def of_tensor(self, image: Tensor) -> Tensor:
        """Features (N, D') float32, on the CPU, of images (N, 3, H, W) that are uint8 or normalised; they are not cached."""
        self._use_learner()
        with self.passing.in_format():
            return self.passing.compute(image)

    def of_unit_length(self, images: Images, rows: Rows, what: str) -> Tensor:
        """The features (N, D') of rows (N,), each divided by its length."""
        found = [F.normalize(batch.features, dim=1) for batch in self.batches(images, rows, what)]
        return torch.cat(found) if found else torch.empty(0, self.passing.function.width)

    def _use_learner(self) -> None:
        """Compute what the strategy that predicts is given: another one may have learned an earlier checkpoint."""
        function = FeatureFunction(self.model.network, self.model.learner, self.model.image_size)
        for _, cache in self._caches:
            cache.use(function)
        self.passing.function = function

    def _ensured(self, images: Images, rows: Rows) -> FeatureCache | None:
        """The cache with the features of these rows; None if there is none."""
        if not self._cached or self._folder is None:
            return None
        cache = next((each for known, each in self._caches if known is images), None)
        if cache is None:
            cache = FeatureCache(
                self.model.network,
                images,
                self._folder,
                rank=0,
                world_size=1,
                device=self.device,
                precision=self.precision,
                context=self._context,
                channels_last=self.model.channels_last,
                counts=FeatureCounts(),
                passing=self.passing,
            )
            self._caches.append((images, cache))
        self._failure = cache.ensure(rows) if len(rows) else ""
        if self._failure:
            print_line(f"From now on features are computed whenever they are needed: {self._failure}.")
            return None
        return cache

    def _computed(self, images: Images, rows: Rows, what: str, with_images: bool) -> Iterator[Passed]:
        tuned = False
        for batch in self._loaded(images, rows, f"computing features of {what}"):
            image: Tensor = batch["image"]
            if not tuned and len(image) >= AT_ONCE:
                self.passing.tune(image, len(rows), self.precision)
                tuned = True
            features = self.of_tensor(image)
            yield Passed(batch["index"].numpy(), batch["label"], features, image if with_images else None)
        self.passing.check_pace()

    def _loaded(self, images: Images, rows: Rows, title: str) -> Iterator[dict[str, Tensor]]:
        dataset = images.image_dataset()
        nowhere = np.full(len(dataset), -1, dtype=np.int64)  # the experience of a row is not needed here
        size = max(handed_over(self.device), self.datamodule.batch_size)
        loader = make_loader(dataset, EvalBatches(rows, nowhere, size), min(images.num_workers, len(rows)))
        with progress_bar(title, len(loader)) as advance:
            for batch in loader:
                yield batch
                advance()


def _read(cache: FeatureCache, rows: Rows) -> Tensor:
    return cache.take(rows, np.full(len(rows), -1, dtype=np.int64))
