"""Loss and accuracy of training, logged for each step and epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch import Tensor
from torchmetrics.aggregation import MeanMetric

from lightning_vision.data.batch import Batch
from lightning_vision.errors import ConfigError, TrainingError
from lightning_vision.learning.network import Network

UNCHECKED = 32
"""Losses on a GPU that are checked together."""


class StepMean(MeanMetric):
    """A mean over steps. MeanMetric itself looks for NaN at each update, for which the host waits for the GPU."""

    def update(self, value: Tensor, weight: float = 1.0) -> None:  # type: ignore[override] # of tensors only
        """Add numbers of any shape, each with the weight."""
        self.mean_value += value.to(self.dtype).sum() * weight
        self.weight += value.numel() * weight


class TrainingFigures:
    """Loss and accuracy of the training images, summed over an epoch.

    Args:
        measured: Receives the newest mean of each figure.
        place: The position of a batch in the stream, for a message.
    """

    def __init__(self, measured: dict[str, float], place: Callable[[int], str]) -> None:
        self.measured, self._place = measured, place
        self.loss, self.accuracy = StepMean(), StepMean()
        for metric in (self.loss, self.accuracy):
            metric.persistent(True)  # so that an epoch that resumes half-way keeps its sums
        self.correct: Tensor | None = None
        """(B,) bool: whether the first logits of the newest training batch classified each image correctly; None without logits."""
        self._unchecked: list[tuple[int, Tensor]] = []
        self._logits: Tensor | None = None

    def begin_stage(self) -> None:
        """Reset the sums: restored weights bring those of their epoch."""
        self.measured.clear()
        for metric in (self.loss, self.accuracy):
            metric.reset()

    def take_measured(self, measured: Mapping[str, float]) -> None:
        """Load the figures of a checkpoint."""
        self.measured.clear()
        self.measured.update(measured)

    def begin_trainer(self) -> None:
        """Drop the losses of another Trainer, which has checked them."""
        self._unchecked = []

    def begin_batch(self) -> None:
        """Check the losses if it is time, and wait for the first logits of this batch."""
        if self._unchecked and len(self._unchecked) >= (1 if self._unchecked[0][1].device.type == "cpu" else UNCHECKED):
            self.check_loss()
        self._logits = None

    def keep_logits(self, logits: Tensor) -> None:
        """Keep the head's output if it is the first for this batch."""
        if self._logits is None:
            self._logits = logits.detach()

    def add(self, network: Network, batch: Batch, batch_idx: int, loss: Tensor, images: int) -> None:
        """Add a batch.

        Args:
            network: Holds the classes seen.
            batch: The batch.
            batch_idx: Its number in the epoch.
            loss: Its loss (), the mean over its images.
            images: How many of them are no stand-ins.
        """
        self._unchecked.append((batch_idx, loss.detach()))
        self.correct = self._correct(network, batch)
        if images:
            self.loss.update(loss.detach(), images)
            if self.correct is not None:
                self.accuracy.update(self.correct.float())

    def _correct(self, network: Network, batch: Batch) -> Tensor | None:
        """Which images (B,) the first logits of the loss classified correctly; their first B rows belong to the batch."""
        labels, logits = batch["label"], self._logits
        if logits is None or logits.dim() != 2 or len(logits) < len(labels):
            return None
        return network.mask_unseen(logits[: len(labels)]).argmax(dim=1) == labels

    def check_loss(self) -> None:
        """Check the losses since the last time. On a GPU, reading one waits until all that was queued before is computed.

        Raises:
            TrainingError: One is NaN or infinite.
        """
        losses, self._unchecked = self._unchecked, []
        if not losses or torch.isfinite(torch.stack([loss for _, loss in losses])).all():
            return
        batch, loss = next((batch, loss) for batch, loss in losses if not torch.isfinite(loss))
        raise TrainingError(
            f"The loss is {loss.item()} in {self._place(batch)}. "
            "Training stopped; the earlier checkpoints are kept. Try a smaller learning rate, "
            "trainer.gradient_clip_val=1.0 or trainer.precision=32-true, or check the images of that batch."
        )

    def log_step(self, log: Callable[..., None], trainer: Trainer, loss: Tensor) -> None:
        """Log the loss of a step that the loggers are given, and of an epoch's last: logging takes longer than a small head's step."""
        every = int(trainer.log_every_n_steps)  # type: ignore[attr-defined] # set from outside
        if trainer.should_stop or trainer.is_last_batch or (every > 0 and (trainer.global_step + 1) % every == 0):
            log("train/loss_step", loss.detach(), on_step=True, on_epoch=False)

    def log_epoch(self, log: Callable[[str, Tensor], None]) -> None:
        """Log the epoch's means over all processes."""
        log_mean(log, "train/loss", self.loss, self.measured)
        log_mean(log, "train/accuracy", self.accuracy, self.measured)

    def step_plateaus(self, configs: Sequence[LRSchedulerConfig], logged: Mapping[str, Any]) -> None:
        """Step the schedulers that depend on a metric.

        Lightning does so after the epoch's checkpoint, and not at all if the epoch resumed half-way: a resumed run would
        continue with another learning rate.

        Args:
            configs: All schedulers; those that depend on a metric come with its name.
            logged: The metrics of callbacks and strategies.

        Raises:
            ConfigError: There is no such metric.
        """
        for config in configs:
            if not config.reduce_on_plateau:
                continue
            key = str(config.monitor)
            found = self.measured.get(key, logged.get(key))
            if found is None:
                known = sorted({*self.measured, *logged})
                raise ConfigError(f"lr_scheduler.monitor: expected one of {', '.join(known)}, found {key!r}.")
            config.scheduler.step(float(found))  # type: ignore[arg-type] # typed as the schedulers without a metric


def log_mean(log: Callable[[str, Tensor], None], key: str, metric: MeanMetric, measured: dict[str, float]) -> None:
    """Log the mean of a figure over all processes, if anything was counted, and reset it.

    Args:
        log: The method ``log`` of the LightningModule.
        key: The figure's name.
        metric: Its sum.
        measured: Receives the mean.
    """
    value = metric.compute()
    if not torch.isnan(value):
        log(key, value)
        measured[key] = float(value)
    metric.reset()
