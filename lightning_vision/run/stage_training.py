"""The training of one stage of an experience."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback

from lightning_vision.data.process_group import equal_on_processes
from lightning_vision.data.stream import Experience
from lightning_vision.errors import TrainingError
from lightning_vision.learning.checkpoints import read_checkpoint
from lightning_vision.learning.placement import place
from lightning_vision.learning.served_data import data_for
from lightning_vision.learning.stage import Stage
from lightning_vision.learning.stage_checkpoints import StageCheckpoints, best_checkpoint, last_checkpoint
from lightning_vision.learning.stage_tally import TallyInCheckpoint, Unfinished
from lightning_vision.run.anytime_accuracy import AnytimeAccuracy
from lightning_vision.run.run_budget import budget_stop
from lightning_vision.run.run_context import RunContext
from lightning_vision.run.work_plan import cost, served
from lightning_vision.seeding import derive_seed


class StageTraining:
    """Trains one stage with its own Trainer, from its start or from its checkpoint.

    Args:
        context: The run.
    """

    def __init__(self, context: RunContext) -> None:
        self.context = context

    def train(
        self,
        experience: Experience,
        number: int,
        stage: Stage,
        tally: TallyInCheckpoint,
        begun: Unfinished,
        anytime: AnytimeAccuracy | None = None,
    ) -> None:
        """Train one stage, or resume it.

        Args:
            experience: The experience.
            number: The position of the stage among those of the experience.
            stage: The stage.
            tally: Counts the experience's training; the stage is added to it.
            begun: The position at which an interrupted attempt at this stage stopped.
            anytime: Measures the accuracy between its batches.

        Raises:
            TrainingError: Training failed, or left the processes with different weights.
        """
        context, model, datamodule = self.context, self.context.model, self.context.datamodule
        t = experience.index
        torch.manual_seed(derive_seed(context.options.seed, "stage", t, number))
        parameters = model.begin_stage(stage.name, partial(self._change_groups, stage))
        model.found_learning_rate = None
        learner = model.learner
        closed_form = learner.kind == "closed_form"
        last, best_path = (context.directory.within(t, number, what) for what in ("last", "best"))
        context.frozen.begin_stage(model.network)
        changing = [type(recipe).__name__ for recipe in context.recipes if recipe.needs_images]
        features = context.features.for_training(learner, " and ".join(changing))
        validates = served(datamodule, learner, experience)[1] > 0 and not closed_form
        context.signals.path = last
        saves = last_checkpoint(last, closed_form=closed_form)
        callbacks: list[Callback] = [context.progress, tally, context.signals, saves]
        if (
            anytime is not None
        ):  # before the signals: the checkpoint that they write holds the measurement after its batch
            callbacks.insert(0, anytime)
        callbacks += budget_stop(context, experience, tally)
        best = None
        if validates and model.restore_best:
            best = best_checkpoint(best_path, model.monitor)
        trainer = context.trainers.training(
            callbacks,
            best,
            closed_form_passes=learner.passes if closed_form else None,
            validates=validates,
            checkpoints=StageCheckpoints([last, best_path], context.frozen),
            **self._epochs(experience, stage),
        )
        datamodule.enter(
            t,
            context.options.seed,
            **data_for(
                learner,
                experience,
                epoch=begun.epoch,
                start_batch=begun.batch,
                features=features,
                augment=stage.augment,
            ),
        )
        if begun.path is not None:  # features must match the weights with which the stage resumes
            model.load_state_dict(read_checkpoint(begun.path)["state_dict"])
        context.features.compute_for_stage(learner, features, validates)
        if anytime is not None:
            anytime.prepare()
        if context.recipes and not closed_form:
            place(model, context.process.device)
            model.network.eval()
            for recipe in context.recipes:
                recipe.before_stage(context.moment(experience, stage, resumed=begun.path is not None))
        context.progress.stage(stage.title, cost(learner))
        trainer.fit(model, datamodule=datamodule, ckpt_path=begun.path, weights_only=True if begun.path else None)
        place(model, context.process.device)
        if best is not None and best.best_model_path:
            model.load_state_dict(read_checkpoint(best.best_model_path)["state_dict"])
        if closed_form:
            self._check_equal_heads()
        free = sum(p.numel() - learner.fixed_entries(p) for p in parameters)
        tally.trained.add(trainer, free, len(datamodule.rows_to_train()), closed_form)
        context.position.step_offset += trainer.global_step

    def _epochs(self, experience: Experience, stage: Stage) -> dict[str, Any]:
        """The Trainer's ``max_epochs`` if the stage or the base has its own."""
        if stage.epochs is not None:
            return {"max_epochs": stage.epochs}
        if experience.is_base and self.context.model.base_epochs is not None:
            return {"max_epochs": self.context.model.base_epochs}
        return {}

    def _change_groups(self, stage: Stage, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The optimizer's groups after all recipes have changed them."""
        for recipe in self.context.recipes:
            groups = recipe.parameters_to_train(self.context.model.network, stage, groups)
        return groups

    def _check_equal_heads(self) -> None:
        """Check that weights that no gradient has changed are equal on all processes: DDP would silently use those of rank 0.

        Raises:
            TrainingError: They differ.
        """
        model, device = self.context.model, self.context.process.device
        if self.context.process.world_size == 1:
            return
        state = [*model.strategy.state_dict().values(), *model.network.head.state_dict().values()]
        sums = torch.tensor([float(value.double().sum()) for value in state], dtype=torch.float64, device=device)
        if not equal_on_processes(sums):
            raise TrainingError(
                f"{type(model.strategy).__name__} left different weights on different processes. A closed form must "
                "depend only on the features and labels that are passed to update()."
            )
