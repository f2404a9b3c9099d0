"""The learning of one experience: all its stages, and the hooks of the strategies after them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lightning_vision.data.process_group import sum_over_processes
from lightning_vision.data.stream import Experience
from lightning_vision.learning.checkpoints import check_fits, read_checkpoint
from lightning_vision.learning.placement import place
from lightning_vision.learning.recipe import plan_stages
from lightning_vision.learning.stage import Stage
from lightning_vision.learning.stage_tally import TallyInCheckpoint, Trained, Unfinished
from lightning_vision.learning.strategy import Strategy, gathers_base_data
from lightning_vision.run.anytime_accuracy import AnytimeAccuracy, anytime_accuracy
from lightning_vision.run.experience_batches import ExperienceBatches
from lightning_vision.run.run_context import RunContext
from lightning_vision.run.stage_training import StageTraining
from lightning_vision.run.usage_of_nodes import usage_of_nodes
from lightning_vision.run.work_plan import epochs_of
from lightning_vision.seeding import derive_seed
from lightning_vision.tracking.energy import Usage
from lightning_vision.tracking.loggers import resume_loggers


@dataclass(frozen=True)
class Learned:
    """The costs of learning an experience, including interrupted attempts."""

    used: Usage
    """Time, and the energy of all nodes."""
    trained: Trained
    backbone_images: int
    """Images that passed the backbone, over all processes."""
    anytime: AnytimeAccuracy | None = None
    """The measurements within the experience; None if the stream is not online."""


class ExperienceLearning:
    """Learns one experience after the other.

    Args:
        context: The run.
        training: Trains one stage.
    """

    def __init__(self, context: RunContext, training: StageTraining) -> None:
        self.context, self.training = context, training

    def learn(self, experience: Experience, resumed: bool) -> Learned:
        """Learn an experience, or resume it.

        Args:
            experience: The experience.
            resumed: Resume an interrupted attempt at it, if there is one.

        Raises:
            CheckpointError: The checkpoint of the interrupted attempt does not fit.
            TrainingError: Training failed.
        """
        context, model, t = self.context, self.context.model, experience.index
        model.base_statistics = False
        torch.manual_seed(derive_seed(context.options.seed, "experience", t))
        model.begin_experience(experience)
        begun = self._unfinished(t) if resumed else Unfinished()
        images_before = model.network.backbone_images

        def backbone_images() -> int:
            own = torch.tensor(model.network.backbone_images - images_before, device=context.process.device)
            return begun.images + int(sum_over_processes(own))

        with context.meter.task(f"experience {t}: learning", begun.used) as task:
            tally = TallyInCheckpoint(context.meter, task, backbone_images, begun.trained)
            anytime = anytime_accuracy(context, experience)
            for number, stage in enumerate(self._stages(experience)):
                model.base_statistics = stage.base_statistics
                if number >= begun.stage:
                    from_here = begun if number == begun.stage else Unfinished()
                    self.training.train(experience, number, stage, tally, from_here, anytime)
            self._after_experience(experience)
        used = usage_of_nodes(task.used, context.meter, context.process.device)
        return Learned(used, tally.trained, backbone_images(), anytime)

    def _stages(self, experience: Experience) -> list[Stage]:
        """The stages of an experience; a given base needs no training."""
        context, model = self.context, self.context.model
        stages: list[Stage] = []
        if not (experience.is_base and model.base_checkpoint is not None):
            epochs = epochs_of(model, experience, context.max_epochs)
            stages = plan_stages(model.learner, experience, context.recipes, epochs)
        if experience.is_base and gathers_base_data(model.strategy):
            stages.append(Stage("base data", base_statistics=True))
        return stages

    def _after_experience(self, experience: Experience) -> None:
        """Call the hooks of the strategies after the last stage."""
        context, model = self.context, self.context.model
        place(model, context.process.device)
        model.network.eval()
        torch.manual_seed(derive_seed(context.options.seed, "after", experience.index))
        strategies: list[Strategy] = [model.base_strategy, model.strategy] if experience.is_base else [model.strategy]
        for strategy in strategies:
            context.features.for_evaluation(strategy)
            strategy.after_experience(model.network, experience, ExperienceBatches(context, experience))
        model.network.eval()

    def _unfinished(self, t: int) -> Unfinished:
        """Find what an interrupted attempt at an experience left; delete the loggers' rows after it."""
        context = self.context
        found = context.directory.last_within(t)
        begun = Unfinished()
        if found is not None:
            stage, path = found
            checkpoint = read_checkpoint(path)
            check_fits(checkpoint, context.model, path)
            begun = Unfinished.read(path, stage, checkpoint)
        context.position.step_offset += begun.trained.steps
        resume_loggers(context.trainers.loggers, context.position.step_offset + begun.steps)
        return begun
