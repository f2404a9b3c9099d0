"""The parameters that a stage trains, their groups, and the optimizer and scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable, ReduceLROnPlateau
from torch import nn

from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy, grouped, trainable

Groups = list[dict[str, Any]]


class StageOptimizer:
    """Chooses the parameters of each stage, and builds its optimizer and scheduler.

    Args:
        optimizer: Builds the optimizer of each experience from its groups.
        lr_scheduler: Builds the scheduler of each experience from its optimizer; None: no scheduler.
        base_optimizer: The same for experience 0. None: ``optimizer``.
        base_lr_scheduler: The same for experience 0. None: ``lr_scheduler`` if ``base_optimizer`` is None too.
    """

    def __init__(
        self,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
        base_optimizer: OptimizerCallable | None,
        base_lr_scheduler: LRSchedulerCallable | None,
    ) -> None:
        self._optimizer_makers = (base_optimizer or optimizer, optimizer)
        scheduler = base_lr_scheduler if base_optimizer or base_lr_scheduler else lr_scheduler
        self._scheduler_makers = (scheduler, lr_scheduler)
        self._groups: list[Any] = []

    def choose(
        self,
        network: Network,
        strategies: Iterable[Strategy],
        learner: Strategy,
        change: Callable[[Groups], Groups] | None = None,
    ) -> list[nn.Parameter]:
        """Choose what is trained in a stage; everything else of the network and of the strategies is frozen.

        Args:
            network: The network that is trained.
            strategies: All strategies of the run, which may have parameters of their own.
            learner: The one of them that names the parameters.
            change: Rewrites the optimizer's groups.

        Returns:
            The parameters that are trained by gradient.

        Raises:
            ConfigError: There are none, or they contradict the learner's declarations.
        """
        for module in (network, *strategies):
            module.requires_grad_(False)
        if learner.kind == "closed_form":
            # DistributedDataParallel refuses a module without trainable parameters: use the head, which gets no gradient.
            self._groups, flat = trainable(network.head.parameters())
        else:
            self._groups, flat = trainable(learner.parameters_to_train(network))
            if change is not None:
                self._groups, flat = trainable(change(grouped(self._groups)))
        for parameter in flat:
            parameter.requires_grad_(True)
        if learner.freezes_backbone and any(p.requires_grad for p in network.backbone.parameters()):
            raise ConfigError(
                f"{type(learner).__name__} declares freezes_backbone and trains backbone parameters: change one of the two."
            )
        if not flat:
            raise ConfigError(f"{type(learner).__name__}.parameters_to_train returned nothing to train.")
        return [] if learner.kind == "closed_form" else flat

    def build(self, learner: Strategy, base: bool, learning_rate: float | None = None) -> Any:
        """Optimizer and scheduler of the chosen parameters, as Lightning's ``configure_optimizers`` returns them.

        Args:
            learner: The strategy that learns.
            base: It learns experience 0.
            learning_rate: Replaces the optimizer's own: the first group that has a rate is given it, the others in proportion.
        """
        if learner.kind == "closed_form":
            # Stepped for each batch so that Lightning counts steps; without gradients it changes nothing.
            return torch.optim.SGD(self._groups, lr=0.0)
        optimizer, scheduler = self._make(0 if base else 1, self._groups, learning_rate)
        if scheduler is None:
            return optimizer
        entry: dict[str, Any] = {"scheduler": scheduler}
        if isinstance(scheduler, ReduceLROnPlateau):
            entry |= {"monitor": scheduler.monitor, "strict": False}  # on_train_epoch_end reports a missing metric
        elif isinstance(scheduler, torch.optim.lr_scheduler.OneCycleLR):
            entry["interval"] = "step"
        return {"optimizer": optimizer, "lr_scheduler": entry}

    def check(self) -> None:
        """Build both optimizers once for a dummy parameter, so that bad options are refused before training.

        Raises:
            ConfigError: Their options are refused.
        """
        for which in (1, 0):
            self._make(which, [nn.Parameter(torch.zeros(2, 2))], None)

    def _make(self, which: int, groups: list[Any], learning_rate: float | None) -> tuple[torch.optim.Optimizer, Any]:
        """Optimizer and scheduler (or None) of experience 0 (``which`` 0) or of the others (1).

        Raises:
            ConfigError: Their options are refused.
        """
        make_scheduler = self._scheduler_makers[which]
        try:
            # An optimizer writes its options into its groups, and another one may be built from the same groups.
            optimizer = self._optimizer_makers[which]([dict(g) if isinstance(g, dict) else g for g in groups])
            if not isinstance(optimizer, torch.optim.Optimizer):
                raise TypeError(f"expected a torch.optim.Optimizer, found {optimizer!r}")
            _scale_rates(optimizer, learning_rate)
            return optimizer, None if make_scheduler is None else make_scheduler(optimizer)
        except (ValueError, TypeError) as error:
            name = ("base_optimizer or model.base_lr_scheduler", "optimizer or model.lr_scheduler")[which]
            raise ConfigError(f"model.{name} cannot be built with these options: {error}") from error


def leading_rate(rates: Iterable[float]) -> float:
    """The first rate above 0 of an optimizer's groups, to which the others are in proportion; 1 if there is none."""
    return next((rate for rate in rates if rate > 0), 1.0)


def _scale_rates(optimizer: torch.optim.Optimizer, learning_rate: float | None) -> None:
    """Replace the optimizer's learning rate by the given one, then apply each group's ``lr_scale``."""
    groups = optimizer.param_groups
    found = 1.0 if learning_rate is None else learning_rate / leading_rate(group["lr"] for group in groups)
    for group in groups:
        group["lr"] *= found * group.get("lr_scale", 1.0)
