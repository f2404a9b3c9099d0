"""A learning rate with linear warm-up and cosine decay."""

from __future__ import annotations

import math

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_vision.errors import ConfigError


class WarmupCosine(LRScheduler):
    r"""Linear warm-up (arXiv 1706.02677), then half a cosine (SGDR without restarts, arXiv 1608.03983), by epoch.

    Of W epochs of warm-up and T in all, epoch e has the share of each group's learning rate

    - (e + 1) / (W + 1) for e < W,
    - floor + (1 - floor) * (1 + cos(pi * (e - W) / (T - W))) / 2 from there on, and floor from T on.

    Use it as ``model.lr_scheduler`` or ``model.base_lr_scheduler``. torch has both parts, but joins them only with
    ``SequentialLR``, whose schedulers need an optimizer and therefore cannot be given in a configuration. timm's
    schedulers are not torch schedulers.

    Args:
        optimizer: Set by the run, with the initial learning rate of each group.
        epochs: T, the number of epochs of a stage, as in ``trainer.max_epochs``, or ``model.base_epochs`` for the base.
        warmup_epochs: W, less than T.
        floor: Share of the learning rate at the end, from 0 to 1.
        last_epoch: See torch's schedulers.
    """

    def __init__(
        self, optimizer: Optimizer, epochs: int, warmup_epochs: int = 1, floor: float = 0.0, last_epoch: int = -1
    ) -> None:
        if not 0 <= warmup_epochs < epochs:
            raise ConfigError(
                f"WarmupCosine: expected 0 <= warmup_epochs < epochs, found {warmup_epochs} and {epochs}."
            )
        if not 0 <= floor <= 1:
            raise ConfigError(f"WarmupCosine.floor: expected a share from 0 to 1, found {floor}.")
        self.epochs, self.warmup_epochs, self.floor = epochs, warmup_epochs, floor
        super().__init__(optimizer, last_epoch)

    def share(self, epoch: int) -> float:
        """What part of the learning rate an epoch, counted from 0, has."""
        if epoch < self.warmup_epochs:
            return (epoch + 1) / (self.warmup_epochs + 1)
        done = min(1.0, (epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs))
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of each group in the present epoch."""
        return [rate * self.share(self.last_epoch) for rate in self.base_lrs]
