"""Find a learning rate and a batch size before each stage."""

from __future__ import annotations

import io
import logging
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import Any, Literal

import numpy as np
from lightning.pytorch.tuner.tuning import Tuner
from lightning.pytorch.utilities.seed import isolate_rng
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import ConfigError, TrainingError
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.recipe import Moment, Recipe
from lightning_vision.learning.run_trainer import RunTrainer
from lightning_vision.learning.stage_optimizer import leading_rate
from lightning_vision.terminal.messages import print_notice


def steepest_descent(rates: Sequence[float], losses: Sequence[float], skip_first: int = 10) -> float | None:
    """The rate at which a loss falls fastest over the logarithm of the rate.

    Lightning's own suggestion takes the slope over the rate itself, which is steepest where the rates lie closest: of
    rates that grow exponentially it names one of the smallest.

    Args:
        rates: (N,) ascending.
        losses: (N,) smoothed; those that are no number are left out.
        skip_first: Rates whose loss is an average of too few steps.

    Returns:
        None if it falls nowhere, or if fewer than two losses are left.
    """
    known = [pair for pair in list(zip(rates, losses, strict=True))[skip_first:] if math.isfinite(pair[1])]
    if len(known) < 2:
        return None
    rate, loss = np.array(known).T
    slope = np.gradient(loss, np.log(rate))
    return float(rate[slope.argmin()]) if slope.min() < 0 else None


class LearningRateFinder(Recipe):
    """Train each stage with the learning rate at which a trial's loss falls fastest (range test, arXiv 1506.01186).

    Before a stage, Lightning's Tuner trains some steps with an exponentially increasing rate. The stage uses the rate
    at which the smoothed loss falls fastest (``steepest_descent``). Weights, statistics, strategy and random state are
    restored after the trial. The rate replaces that of the optimizer's first group (of those that have a rate above 0);
    other groups keep their ratio to it, also in the trial. It is saved in the run's record. Time, energy and images of the trial count as learning.

    If the loss is not finite, or increases too early to show a descent, the trial is repeated up to a tenth of the rate
    that it had reached.

    Args:
        lowest: First rate of the trial.
        highest: Last rate of the trial, unless the loss exceeds four times its minimum before.
        steps: Number of steps of the trial, at least 20.
    """

    def __init__(self, lowest: float = 1e-6, highest: float = 1.0, steps: int = 100) -> None:
        if not 0 < lowest < highest:
            raise ConfigError(f"LearningRateFinder: expected 0 < lowest < highest, found {lowest} and {highest}.")
        if steps < 20:
            raise ConfigError(f"LearningRateFinder.steps: expected at least 20, found {steps}.")
        self.lowest, self.highest, self.steps = lowest, highest, steps
        self._model: ContinualClassifier | None = None

    def before_stage(self, moment: Moment) -> None:
        """Find the rate; a resumed stage has it already.

        Raises:
            ConfigError: There are several processes.
        """
        self._model = moment.model
        if moment.resumed:
            return
        _refuse_several(self, moment, "the optimizer's lr")
        found = self._search(moment)
        moment.model.found_learning_rate = found
        if found is None:
            print_notice(
                f"LearningRateFinder{_place(moment)}: no suitable learning rate between {self.lowest:g} and "
                f"{self.highest:g}; the optimizer's own is used."
            )
        else:
            print_notice(f"LearningRateFinder{_place(moment)}: a learning rate of {found:.3g}.")

    def _search(self, moment: Moment) -> float | None:
        """The rate, or None if there is no telling."""
        found, highest = self._try(moment, self.highest)
        while found is None and highest is not None and highest >= 10 * self.lowest:
            found, highest = self._try(moment, highest)
        return found

    def _try(self, moment: Moment, highest: float) -> tuple[float | None, float | None]:
        """One trial: the rate that it tells, if it tells one; and how far to go in the next, if it ended too soon."""
        with _as_it_was(moment), _in_proportion(moment.model) as reached, _tuner(moment) as tuner:
            try:
                with redirect_stderr(io.StringIO()):  # Lightning's progress bar, which it leaves open
                    curve = tuner.lr_find(
                        moment.model,
                        datamodule=moment.datamodule,
                        min_lr=self.lowest,
                        max_lr=highest,
                        num_training=self.steps,
                        update_attr=False,
                    )
            except TrainingError:  # the loss is no number
                return None, reached[-1] / 10
        found = None if curve is None else steepest_descent(curve.results["lr"], curve.results["loss"])
        return found, reached[-1] / 10 if len(reached) < self.steps else None

    def state_dict(self) -> dict[str, Any]:
        """The rate that was found for this stage."""
        return {"learning_rate": None if self._model is None else self._model.found_learning_rate}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it up before the optimizer is built."""
        if self._model is not None:
            self._model.found_learning_rate = state_dict["learning_rate"]


class BatchSizeFinder(Recipe):
    """Train each stage with the largest batches that fit into the device's memory, by Lightning's Tuner.

    The trial starts with ``data.batch_size``, doubles it while a few training steps succeed, and halves it if the first
    ones fail. Weights, statistics, strategy and random state are restored after the trial. The size is saved in the
    run's record and also used for the evaluation of the experience. The learning rate does not change with it: list
    ``LearningRateFinder`` after this recipe.

    Args:
        mode: power only doubles the size. binsearch then bisects between success and failure, and subtracts 5 %.
        steps: Number of training steps with each size.
        largest: Maximum size to try. Batches larger than the training data of a stage are not tried either.
    """

    def __init__(self, mode: Literal["power", "binsearch"] = "power", steps: int = 3, largest: int = 1024) -> None:
        if steps < 1:
            raise ConfigError(f"BatchSizeFinder.steps: expected at least 1, found {steps}.")
        if largest < 1:
            raise ConfigError(f"BatchSizeFinder.largest: expected at least 1, found {largest}.")
        self.mode, self.steps, self.largest = mode, steps, largest
        self._configured = 0
        self._datamodule: StreamDataModule | None = None

    def before_run(self, model: ContinualClassifier, datamodule: StreamDataModule) -> None:
        """Remember what was asked for."""
        self._configured = datamodule.batch_size
        if self._configured > self.largest:
            raise ConfigError(
                f"BatchSizeFinder.largest: expected at least data.batch_size, {self._configured}, found {self.largest}."
            )

    def before_stage(self, moment: Moment) -> None:
        """Find the size; a resumed stage has it already.

        Raises:
            ConfigError: There are several processes.
            TrainingError: Not even a single image fits.
        """
        self._datamodule = moment.datamodule
        if moment.resumed:
            return
        _refuse_several(self, moment, "data.batch_size")
        moment.datamodule.batch_size = self._configured
        limit = max(self._configured, min(self.largest, len(moment.datamodule.rows_to_train())))
        trials = int(math.log2(limit / self._configured)) + 1
        with _as_it_was(moment), _tuner(moment) as tuner:
            found = tuner.scale_batch_size(
                moment.model,
                datamodule=moment.datamodule,
                mode=self.mode,
                steps_per_trial=self.steps,
                init_val=self._configured,
                max_trials=trials,  # ends the search on a size that was tried, where max_val would end it before
                max_val=2 * limit + 1,
            )
        if not found:
            raise TrainingError(
                "BatchSizeFinder: a single image does not fit into memory. Use a smaller data.image_size."
            )
        moment.datamodule.batch_size = found
        print_notice(f"BatchSizeFinder{_place(moment)}: {found} images per batch.")

    def after_experience(self, moment: Moment) -> None:
        """Restore the configured size, with which a resumed run starts the next experience too."""
        moment.datamodule.batch_size = self._configured

    def state_dict(self) -> dict[str, Any]:
        """The size that was found for this stage."""
        return {"batch_size": self._configured if self._datamodule is None else self._datamodule.batch_size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it up before the loaders are made."""
        if self._datamodule is not None:
            self._datamodule.batch_size = state_dict["batch_size"]


def _refuse_several(recipe: Recipe, moment: Moment, option: str) -> None:
    """Several processes would each stop where they fail, and wait for the others."""
    if moment.world_size > 1:
        name = type(recipe).__name__
        raise ConfigError(
            f"{name} needs one process, found {moment.world_size}. Run it with trainer.devices=1, and pass the result "
            f"as {option} to a run without it."
        )


def _place(moment: Moment) -> str:
    """Experience and stage, for a line."""
    title = "" if moment.stage is None else moment.stage.title
    return f", experience {moment.experience.index}{f', {title}' if title else ''}"


@contextmanager
def _tuner(moment: Moment) -> Iterator[Tuner]:
    """Lightning's, for a Trainer of the run's options that keeps nothing, calls no one back and speaks of no checkpoints."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    with tempfile.TemporaryDirectory() as folder:
        options = moment.trainers.options() | {
            "callbacks": [],
            "logger": False,
            "default_root_dir": folder,
            "enable_checkpointing": False,
            "profiler": None,
            "max_epochs": -1,  # the trial ends by its steps
            "min_epochs": None,
            "max_steps": -1,
            "min_steps": None,
            "max_time": None,
            "check_val_every_n_epoch": sys.maxsize,  # the search would set limit_val_batches again
            "val_check_interval": 1.0,
        }
        logger.setLevel(logging.WARNING)
        try:
            yield Tuner(RunTrainer(**options))
        finally:
            logger.setLevel(level)


@contextmanager
def _as_it_was(moment: Moment) -> Iterator[None]:
    """Put back all that a trial moves: weights, statistics, the strategies' state, random numbers; not what it cost."""
    model = moment.model
    empty = [(module, name) for module in model.modules() for name, buffer in module._buffers.items() if buffer is None]
    # Not on the device, whose memory may be what is looked into.
    kept = {name: value.to("cpu", copy=True) for name, value in model.state_dict().items()}
    measured, strict = dict(model.measured), model.strict_loading
    model.strict_loading = False  # Lightning puts the weights back too, and would miss what was empty before
    try:
        with isolate_rng():
            yield
    finally:
        for module, name in empty:
            setattr(module, name, None)
        model.strict_loading = strict
        model.load_state_dict(kept)
        model.zero_grad(set_to_none=True)
        model.measured.clear()
        model.measured.update(measured)
        model.to(moment.device)
        model.network.eval()


@contextmanager
def _in_proportion(model: ContinualClassifier) -> Iterator[list[float]]:
    """Let the optimizer's groups keep their proportions in a trial: Lightning gives all of them the same rate.

    Yields:
        The rates of the steps so far.
    """
    built = model.configure_optimizers()
    groups = (built["optimizer"] if isinstance(built, dict) else built).param_groups
    first = leading_rate(group["lr"] / group.get("lr_scale", 1.0) for group in groups)
    shares = [group["lr"] / first for group in groups]
    reached: list[float] = []

    def before(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        reached.append(optimizer.param_groups[0]["lr"])
        for group, share in zip(optimizer.param_groups, shares, strict=True):
            group["lr"] = reached[-1] * share

    def after(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            group["lr"] = reached[-1]

    handles = [register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after)]
    try:
        yield reached
    finally:
        for handle in handles:
            handle.remove()
