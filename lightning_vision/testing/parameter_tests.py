"""The kit's tests of parameters that a strategy has of its own, and the networks that it is tried on."""

from __future__ import annotations

from typing import ClassVar, NoReturn

import torch
from torch import Tensor

from lightning_vision.data.batch import Batch
from lightning_vision.data.stream import Experience
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.strategy import trainable
from lightning_vision.testing.trial import Run, Trial, training_batches

RATE, DECAY = 0.01, 0.1


class ParameterTests:
    """A part of ``StrategyConformance``."""

    needs_vit: ClassVar[bool] = False
    """It needs a ViT, such as for prompts: images are then of 32 pixels, four patches, and no backbone has batch norm."""

    trial: Trial

    def _whole(self) -> Run:
        raise NotImplementedError

    def _fail(self, text: str) -> NoReturn:
        raise NotImplementedError

    def test_own_parameters_stay(self) -> None:
        """What no gradient reaches does not move under AdamW with decay: parameters of its own, and the head's rows of the past."""
        if not any(module._parameters for module in self.trial.build().modules()):
            return
        run = self._whole()
        last = run.finished - 1
        model, data = self.trial.load(run, last - 1)
        experience = data.stream[last]
        past = model.network.seen.clone()
        past[list(experience.classes)] = False
        model.begin_experience(experience)
        own = [f"strategy.{name}" for name, _ in model.strategy.named_parameters()]
        parameters = dict(model.named_parameters())
        rows = {name: past.view(-1, *[1] * (value.dim() - 1)) for name, value in parameters.items() if name in ROWS}
        before = {name: parameters[name].detach().clone() for name in (*own, *rows)}
        reached = self._trained(model, list(before), experience, training_batches(model, data, last))
        for name, value in before.items():
            moved = (parameters[name].detach() != value) & ~reached[name] & rows.get(name, torch.tensor(True))
            if moved.any():
                what = "of classes of the past, " if name in rows else ""
                self._fail(
                    f"{int(moved.sum())} of {moved.numel()} values of {name} move under AdamW with decay {DECAY}, {what}although "
                    "no gradient reaches them. Return them in a group with weight_decay 0.0 (parameters_to_train), and do not "
                    "change parameters in other hooks of training."
                )

    def _trained(
        self, model: ContinualClassifier, names: list[str], experience: Experience, batches: list[Batch]
    ) -> dict[str, Tensor]:
        """Train an experience for one epoch; which values of these parameters a gradient reached."""
        strategy, network = model.strategy, model.network
        parameters = dict(model.named_parameters())
        reached = {name: torch.zeros_like(parameters[name], dtype=torch.bool) for name in names}
        for stage in strategy.stages(experience):
            model.begin_stage(stage)
            optimizer = torch.optim.AdamW(
                trainable(strategy.parameters_to_train(network))[0], lr=RATE, weight_decay=DECAY
            )
            for batch in batches:
                optimizer.zero_grad()
                strategy.loss(network, batch).backward()  # type: ignore[no-untyped-call]
                strategy.after_backward(network)
                for name in names:
                    gradient = parameters[name].grad
                    reached[name] |= torch.zeros_like(reached[name]) if gradient is None else gradient != 0
                optimizer.step()
                strategy.after_step(network)
        return reached


ROWS = ("network.head.weight", "network.head.bias")
"""Parameters with a row for each class."""
