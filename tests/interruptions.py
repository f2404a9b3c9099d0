"""Parts of a run that interrupt it at a chosen point, and write down what it was shown."""

import json
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from coloured_squares import ColouredSquares
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from lightning_vision import Batch, Experience, Network, Strategy
from lightning_vision.learning.classifier import ContinualClassifier
from strategies import MoveToData

POINT, SIGNAL, SHOWN = "INTERRUPT_AT", "INTERRUPT_BY", "SHOWN_TO"


def interrupt(point: str, by: int = signal.SIGKILL) -> dict[str, str]:
    """The environment for a run that will be interrupted.

    Args:
        point: "experience:stage:epoch:batch", after that batch; or "after:experience", "evaluation:experience".
        by: The signal.
    """
    return {POINT: point, SIGNAL: str(int(by))}


def _reached(point: str, rank: int = 0) -> None:
    if os.environ.get(POINT) == point and rank == 0:
        os.environ.pop(POINT)
        os.kill(os.getpid(), int(os.environ[SIGNAL]))


class Interrupt(Callback):
    """Sends the process of rank 0 a signal after a batch, and writes down the images of each batch."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        if not isinstance(pl_module, ContinualClassifier) or pl_module.experience is None:
            raise TypeError("Expected a classifier within an experience.")
        place = (pl_module.experience.index, pl_module.learner.stage, trainer.current_epoch, batch_idx)
        if SHOWN in os.environ:
            with Path(f"{os.environ[SHOWN]}.{trainer.global_rank}").open("a") as file:
                file.write(json.dumps([*place, batch["index"][batch["valid"]].tolist()]) + "\n")
        _reached(":".join(map(str, place)), trainer.global_rank)


class Interrupted(Strategy):
    """Full fine-tuning that sends its own process a signal after an experience, or in its evaluation."""

    finished = -1

    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        _reached(f"after:{experience.index}")
        self.finished = experience.index

    def predict(self, network: Network, features: Tensor) -> Tensor:
        _reached(f"evaluation:{self.finished}")  # a validation between epochs comes before the experience is finished
        logits: Tensor = network.head(features)
        return logits


class PlainSquares(ColouredSquares):
    """Squares without augmentation, which no number of processes changes anyway."""

    def default_train_transforms(self) -> list[nn.Module]:
        """The image as it is."""
        return self.default_eval_transforms()


class DependsOnRank(MoveToData):
    """What a closed form must not do: another update on each process."""

    def update(self, network: Network, features: Tensor, labels: Tensor) -> None:
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        super().update(network, features * (1 + rank) + rank, labels)
