"""An exponential moving average of the weights."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from lightning_vision.data.process_group import in_group
from lightning_vision.errors import ConfigError
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.recipe import Moment, Recipe
from lightning_vision.learning.strategy import moving_state

STATE = "lightning_vision_moving_average"
PARTS = ("network.", "strategy.", "base_strategy.")
"""Prefixes of what may move in a classifier's state."""


class MovingAverage(Recipe):
    r"""Validate and save an average of the weights over the steps (arXiv 1703.01780) instead of the last weights.

    After optimizer step s of a stage, counted from 1, the average is m <- d m + (1 - d) w, for weights w and running
    statistics of the network, and for the parameters of the strategy that the stage trains. With ``warmup``, d = min(decay,
    1 - s^(-2/3)), which reduces the influence of the first steps; otherwise d = decay. After the first step m = w. This is
    timm's ``ModelEmaV3``.

    Training continues with w. Validation, the best checkpoint, the end of an experience and ``after_experience`` of the
    strategy use m. Each stage begins with m = w. Checkpoints within a stage contain both.

    Args:
        decay: Decay d; the average covers about 1 / (1 - decay) steps.
        warmup: Begin with a smaller decay.
    """

    def __init__(self, decay: float = 0.999, warmup: bool = True) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"MovingAverage.decay: expected a number of at least 0 and below 1, found {decay}.")
        self.decay, self.warmup = decay, warmup
        self._average: Any = None
        """timm's, of what ``_names`` names; None outside of training."""
        self._names: list[str] = []
        """What moves of the classifier's state."""
        self._trained: dict[str, Tensor] | None = None
        """The weights w, while the classifier holds the average."""
        self._steps = 0

    def before_stage(self, moment: Moment) -> None:
        """The average of the stage before went into its result."""
        self._average = self._trained = None
        self._steps = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start with the present weights; a resumed stage has the average from its checkpoint."""
        from timm.utils.model_ema import ModelEmaV3  # takes seconds to import

        self._names = _moving(_classifier(pl_module))
        # A copy of the values alone: the network itself has hooks that hold the classifier, and that the Trainer.
        values = [nn.Parameter(value.clone(), requires_grad=False) for value in self._state(pl_module).values()]
        self._average = ModelEmaV3(nn.ParameterList(values), decay=self.decay, use_warmup=self.warmup)
        self._take_back(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take in the weights if the batch ended with a step."""
        if trainer.global_step > self._steps:
            self._steps = trainer.global_step
            now = self._state(pl_module)
            self._average.update(SimpleNamespace(state_dict=lambda: now), step=self._steps)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What is validated is the average; before training there is none."""
        if self._average is not None:
            self._give(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the weights of training."""
        self._take_back(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The stage's result is the average."""
        self._give(pl_module)
        self._average = self._trained = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the average as the weights, and what is needed to continue training beside it."""
        if self._average is None:
            return
        trained = self._state(pl_module) if self._trained is None else self._trained
        checkpoint[STATE] = {"steps": self._steps, "trained": trained}
        checkpoint["state_dict"] |= self._averaged()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Remember the trained weights until training begins: if no epoch is left, the average is the result already."""
        self._steps, trained = checkpoint[STATE]["steps"], checkpoint[STATE]["trained"]
        # Earlier versions averaged the network alone, and named its weights without the prefix.
        self._trained = {name if name.startswith(PARTS) else f"network.{name}": w for name, w in trained.items()}

    def _state(self, module: LightningModule) -> dict[str, Tensor]:
        """What moves of the classifier's state, as it is now."""
        state = module.state_dict()
        return {name: state[name] for name in self._names}

    @torch.no_grad()
    def _put(self, module: LightningModule, values: dict[str, Tensor]) -> None:
        """Copy values into the classifier's state, and leave the rest of it alone."""
        state = module.state_dict()
        for name, value in values.items():
            state[name].copy_(value)

    def _averaged(self) -> dict[str, Tensor]:
        """The average of the same."""
        return dict(zip(self._names, self._average.module.state_dict().values(), strict=True))

    def _give(self, pl_module: LightningModule) -> None:
        """Put the average into the classifier, and its weights aside."""
        averaged = self._averaged()
        if in_group():
            for (
                name,
                _,
            ) in pl_module.named_buffers():  # running statistics are each process's own: the first one's count
                if name in averaged and averaged[name].is_floating_point():
                    torch.distributed.broadcast(averaged[name], 0)
        self._trained = {name: value.clone() for name, value in self._state(pl_module).items()}
        self._put(pl_module, averaged)

    def _take_back(self, pl_module: LightningModule) -> None:
        """Put the trained weights back, if they are aside."""
        if self._trained is not None:
            self._put(pl_module, self._trained)
            self._trained = None


def _moving(model: ContinualClassifier) -> list[str]:
    """The names in a classifier's state of what a stage moves: of the network, and of the learner's own parameters."""
    learner = "base_strategy" if model.learner is model.base_strategy else "strategy"
    own = [f"{learner}.{name}" for name, parameter in model.learner.named_parameters() if parameter.requires_grad]
    return [*(f"network.{name}" for name in moving_state(model.network)), *own]


def _classifier(module: LightningModule) -> ContinualClassifier:
    if not isinstance(module, ContinualClassifier):
        raise TypeError(f"Expected a ContinualClassifier, found {type(module).__name__}.")
    return module
