"""Repeat misclassified training images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_vision.array_types import Rows
from lightning_vision.errors import ConfigError, TrainingError
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.recipe import Moment, Recipe


def with_errors(rows: Rows, errors: Rows, cap: float, generator: np.random.Generator) -> Rows:
    """As many rows, in which some of the errors stand once more, in place of rows that were right.

    min(M, cap * N, N - M) of the M errors are shown a second time; which they are, and whose places they take, is drawn.

    Args:
        rows: (N,) of an epoch.
        errors: (M,) those of them that were wrong; others are left out of account.
        cap: The most that are shown again, as a share of N.
        generator: What is drawn with.

    Returns:
        (N,)
    """
    wrong = np.isin(rows, errors)
    right = np.flatnonzero(~wrong)
    again = rows[wrong]
    count = min(len(again), int(cap * len(rows)), len(right))
    chosen = rows.copy()
    chosen[generator.choice(right, count, replace=False)] = generator.choice(again, count, replace=False)
    return chosen


class ErrorReplay(Recipe):
    """Show misclassified training images twice in the next epoch (cf. hard examples, arXiv 1604.03540).

    An image is misclassified if the largest of its logits in training, with augmentation and dropout, is not that of
    its label (for mixed images, the first label). An image that was shown twice is misclassified if one of the two
    predictions was wrong. The length of an epoch does not change: repeated images, at most the share ``cap``, replace
    correctly classified images, which are drawn anew each time. The first epoch of a stage shows all images once.
    Images from a strategy's memory are not counted. The recipe works on images and on cached features.

    Args:
        cap: Maximum share of an epoch that is repeated, above 0 and at most 1.
    """

    def __init__(self, cap: float = 0.25) -> None:
        if not 0 < cap <= 1:
            raise ConfigError(f"ErrorReplay.cap: expected a share above 0 and at most 1, found {cap}.")
        self.cap = cap
        self._errors: Rows = np.empty(0, dtype=np.int64)
        """(M,) of the last finished epoch, over all processes."""
        self._wrong = torch.empty(0)
        """(R,) how often this process found each row of the sample table wrong in the present epoch."""

    def before_stage(self, moment: Moment) -> None:
        """Nothing was shown yet."""
        self._errors = np.empty(0, dtype=np.int64)
        self._wrong = torch.zeros(len(moment.datamodule.samples), dtype=torch.int32, device=moment.device)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Have a say in each epoch's rows."""
        trainer.train_dataloader.batch_sampler.choose = self._choose  # type: ignore[union-attr]

    def _choose(self, rows: Rows, generator: np.random.Generator) -> Rows:
        return with_errors(rows, self._errors, self.cap, generator)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the batch's errors, without waiting for the device.

        Raises:
            TrainingError: The strategy's loss does not use the head.
        """
        model = _classifier(pl_module)
        if model.figures.correct is None:
            raise TrainingError(
                f"ErrorReplay cannot find the errors of {type(model.learner).__name__}, because its loss does not "
                "compute the logits of the batch with network.head. Omit the recipe, or use another learning strategy."
            )
        self._wrong.scatter_add_(0, batch["index"], (~model.figures.correct & batch["valid"]).int())

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The epoch's errors are those of all processes."""
        self._errors = self._gathered(pl_module).nonzero().flatten().cpu().numpy()
        self._wrong.zero_()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the errors of the last epoch, and those of this one so far."""
        errors = torch.from_numpy(self._errors)
        checkpoint["lightning_vision_errors"] = {"errors": errors, "so_far": self._gathered(pl_module).cpu()}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore them; the first process gets what all processes had found."""
        kept = checkpoint["lightning_vision_errors"]
        self._errors = kept["errors"].numpy()
        if pl_module.global_rank == 0:
            self._wrong.copy_(kept["so_far"])

    def _gathered(self, module: LightningModule) -> Tensor:
        """(R,) over all processes."""
        return _classifier(module).learner.reduce(self._wrong)


def _classifier(module: LightningModule) -> ContinualClassifier:
    if not isinstance(module, ContinualClassifier):
        raise TypeError(f"Expected a ContinualClassifier, found {type(module).__name__}.")
    return module
