"""An exponential moving average of the network's weights."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from lightning_vision.data.process_group import in_group
from lightning_vision.errors import ConfigError
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.network import Network
from lightning_vision.learning.recipe import Moment, Recipe
from lightning_vision.learning.strategy import moving_state

STATE = "lightning_vision_moving_average"


class MovingAverage(Recipe):
    r"""Validate and save an average of the weights over the steps (arXiv 1703.01780) instead of the last weights.

    After optimizer step s of a stage, counted from 1, the average is m <- d m + (1 - d) w, for weights w and running
    statistics. With ``warmup``, d = min(decay, 1 - s^(-2/3)), which reduces the influence of the first steps; otherwise
    d = decay. After the first step m = w. This is timm's ``ModelEmaV3``.

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
        """What moves of the network's state."""
        self._trained: dict[str, Tensor] | None = None
        """The weights w, while the network holds the average."""
        self._steps = 0

    def before_stage(self, moment: Moment) -> None:
        """The average of the stage before went into its result."""
        self._average = self._trained = None
        self._steps = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start with the network's weights; a resumed stage has the average from its checkpoint."""
        from timm.utils.model_ema import ModelEmaV3  # takes seconds to import

        network = _network(pl_module)
        self._names = moving_state(network)
        # A copy of the values alone: the network itself has hooks that hold the classifier, and that the Trainer.
        values = [nn.Parameter(value.clone(), requires_grad=False) for value in self._state(network).values()]
        self._average = ModelEmaV3(nn.ParameterList(values), decay=self.decay, use_warmup=self.warmup)
        self._take_back(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take in the weights if the batch ended with a step."""
        if trainer.global_step > self._steps:
            self._steps = trainer.global_step
            now = self._state(_network(pl_module))
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
        """Keep the average as the network, and what is needed to continue training beside it."""
        if self._average is None:
            return
        trained = self._state(_network(pl_module)) if self._trained is None else self._trained
        checkpoint[STATE] = {"steps": self._steps, "trained": trained}
        checkpoint["state_dict"] |= {f"network.{name}": value for name, value in self._averaged().items()}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Remember the trained weights until training begins: if no epoch is left, the average is the result already."""
        self._steps, self._trained = checkpoint[STATE]["steps"], checkpoint[STATE]["trained"]

    def _state(self, network: Network) -> dict[str, Tensor]:
        """What moves of the network's state, as it is now."""
        state = network.state_dict()
        return {name: state[name] for name in self._names}

    def _averaged(self) -> dict[str, Tensor]:
        """The average of the same."""
        return dict(zip(self._names, self._average.module.state_dict().values(), strict=True))

    def _give(self, pl_module: LightningModule) -> None:
        """Put the average into the network, and the network's weights aside."""
        network, averaged = _network(pl_module), self._averaged()
        if in_group():
            for name, _ in network.named_buffers():  # running statistics are each process's own: the first one's count
                if name in averaged and averaged[name].is_floating_point():
                    torch.distributed.broadcast(averaged[name], 0)
        self._trained = {name: value.clone() for name, value in self._state(network).items()}
        network.load_state_dict(averaged, strict=False)

    def _take_back(self, pl_module: LightningModule) -> None:
        """Put the trained weights back into the network, if they are aside."""
        if self._trained is not None:
            _network(pl_module).load_state_dict(self._trained, strict=False)
            self._trained = None


def _network(module: LightningModule) -> Network:
    if not isinstance(module, ContinualClassifier):
        raise TypeError(f"Expected a ContinualClassifier, found {type(module).__name__}.")
    return module.network
