"""Callbacks that write down what images a network is given while it trains."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from lightning_vision.data.batch import Batch
from lightning_vision.learning.classifier import ContinualClassifier


class Shown(Callback):
    """Writes down each training batch: experience, epoch, side of the images, and whether they were mixed."""

    seen: list[tuple[int, int, int, bool]] = []  # noqa: RUF012 - of the class, so that a test finds them

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        if not isinstance(pl_module, ContinualClassifier) or pl_module.experience is None:
            raise TypeError("Expected a classifier within an experience.")
        mixed = pl_module.batch_transform is not None and pl_module.batch_transform.mixing is not None
        place = (pl_module.experience.index, trainer.current_epoch)
        Shown.seen.append((*place, batch["image"].shape[-1], mixed))


class Images(Callback):
    """Keeps the images of each training batch, by row."""

    kept: list[dict[int, Any]] = []  # noqa: RUF012 - likewise

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        Images.kept.append(dict(zip(batch["index"].tolist(), batch["image"].clone(), strict=True)))


class Dropped(Callback):
    """Measures the share of the classifier's inputs that are 0 in training, epoch by epoch."""

    shares: dict[int, list[float]] = {}  # noqa: RUF012 - likewise

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, ContinualClassifier):
            raise TypeError("Expected a classifier.")

        def measure(module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
            if module.training:
                share = float((inputs[0] == 0).float().mean())
                Dropped.shares.setdefault(trainer.current_epoch, []).append(share)

        pl_module.network.classifier.register_forward_hook(measure)
