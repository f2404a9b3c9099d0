"""The part of an unfinished experience that was trained, saved with each checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_vision.learning.budget import BudgetStop
from lightning_vision.learning.step_limit import StepLimit
from lightning_vision.tracking.energy import EnergyMeter, Task, Usage


@dataclass
class Trained:
    """Totals over the finished stages of one experience."""

    epochs: int = 0
    steps: int = 0
    """Of the Trainers, with which the steps of the loggers go on."""
    closed_form_steps: int = 0
    """Those among them in which a closed form was updated, and no optimizer."""
    parameters: int = 0
    samples: int = 0
    stopped_early: bool = False
    stopped_by_budget: bool = False

    @property
    def optimizer_steps(self) -> int:
        """The steps of an optimizer."""
        return self.steps - self.closed_form_steps

    def add(self, trainer: Trainer, parameters: int, samples: int, closed_form: bool) -> None:
        """Add a stage that has ended."""
        epochs: int = trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined] # of a subclass
        self.epochs += epochs
        self.steps += trainer.global_step
        self.closed_form_steps += trainer.global_step if closed_form else 0
        self.parameters = max(self.parameters, parameters)
        self.samples += samples * epochs
        full = trainer.max_epochs in (None, -1, epochs) or any(
            isinstance(callback, StepLimit) and trainer.global_step >= callback.steps
            for callback in trainer.callbacks  # type: ignore[attr-defined]
        )
        over = [callback.stopped for callback in trainer.callbacks if isinstance(callback, BudgetStop)]  # type: ignore[attr-defined]
        self.stopped_by_budget |= any(over)
        self.stopped_early |= bool(trainer.should_stop) and not full and not any(over)


TALLY = "lightning_vision_tally"


class TallyInCheckpoint(Callback):
    """Saves the totals of the experience so far in a stage's checkpoints: a resumed run continues them.

    It also saves whether training was told to stop. Lightning does not: a run that is killed between early stopping
    and the end of the experience would train for one more epoch.

    Args:
        meter: Measures the energy of the task.
        task: The learning of this experience.
        images: Images that passed the backbone for it so far, over all processes.
        trained: Its finished stages.
        every_seconds: A checkpoint adds a lap (a row of emissions.csv) if the last one is older than this.
    """

    def __init__(
        self,
        meter: EnergyMeter,
        task: Task,
        images: Callable[[], int],
        trained: Trained,
        every_seconds: float = 60.0,
    ) -> None:
        self.meter, self.task, self.images, self.trained = meter, task, images, trained
        self.every_seconds = every_seconds

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the totals, as plain values."""
        if self.meter.since_lap() >= self.every_seconds:
            self.meter.lap()
        used = {"seconds": self.task.seconds, "energy_kwh": self.task.energy_kwh, "co2eq_kg": self.task.co2eq_kg}
        checkpoint[TALLY] = {
            "used": used,
            "images": self.images(),
            "trained": asdict(self.trained),
            "should_stop": trainer.should_stop,
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Stop again if training was told to stop before."""
        trainer.should_stop = checkpoint[TALLY]["should_stop"]


@dataclass
class Unfinished:
    """What an interrupted attempt at an experience left."""

    used: Usage = field(default_factory=Usage)
    images: int = 0
    """Images that had passed the backbone, over all processes."""
    trained: Trained = field(default_factory=Trained)
    """The number of finished stages."""
    stage: int = 0
    """The stage to resume."""
    path: Path | None = None
    """Its checkpoint; None: the stage starts from its beginning."""
    epoch: int = 0
    batch: int = 0
    """Batches of that epoch that are done."""
    steps: int = 0
    """Optimizer steps of that stage that are done."""

    @classmethod
    def read(cls, path: Path, stage: int, checkpoint: Mapping[str, Any]) -> Unfinished:
        """The position of a checkpoint in training."""
        tally = checkpoint[TALLY]
        epoch, batch = place_in_epoch(checkpoint)
        return cls(
            used=Usage(**tally["used"]),
            images=tally["images"],
            trained=Trained(**tally["trained"]),
            stage=stage,
            path=path,
            epoch=epoch,
            batch=batch,
            steps=checkpoint["global_step"],
        )


def place_in_epoch(checkpoint: Mapping[str, Any]) -> tuple[int, int]:
    """The epoch in which a checkpoint of a Trainer was written, and how many of its batches were done."""
    loop = checkpoint["loops"]["fit_loop"]
    epoch = loop["epoch_progress"]["current"]
    within = epoch["started"] > epoch["processed"]
    return epoch["processed"], loop["epoch_loop.batch_progress"]["current"]["ready"] if within else 0
