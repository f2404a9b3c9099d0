"""Runs a stream: learns each experience with a new Trainer, evaluates, and saves the results."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.process_group import sum_over_processes
from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.stop_signals import StopSignals
from lightning_vision.learning.trainer_factory import TrainerFactory
from lightning_vision.results import schema
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.schema import write_results
from lightning_vision.run.experience_commit import ExperienceCommit
from lightning_vision.run.experience_learning import ExperienceLearning
from lightning_vision.run.probing import Probing
from lightning_vision.run.run_context import RunContext
from lightning_vision.run.run_evaluation import RunEvaluation
from lightning_vision.run.run_figures import draw_run
from lightning_vision.run.run_options import RunOptions as RunOptions
from lightning_vision.run.run_start import RunStart
from lightning_vision.run.stage_training import StageTraining
from lightning_vision.tracking.energy import EnergyMeter
from lightning_vision.tracking.progress import StreamProgress


class StreamRun:
    """One learning strategy on one stream with one seed.

    Args:
        model: The classifier.
        datamodule: Its data.
        trainers: Builds the Trainers.
        directory: The run directory, prepared already.
        meter: Measures time and energy.
        signals: Stops the run on signals.
        progress: Shows the progress of the run.
        options: Other options.
    """

    def __init__(
        self,
        model: ContinualClassifier,
        datamodule: StreamDataModule,
        trainers: TrainerFactory,
        directory: RunDirectory,
        meter: EnergyMeter,
        signals: StopSignals,
        progress: StreamProgress,
        options: RunOptions,
    ) -> None:
        self.context = RunContext(model, datamodule, trainers, directory, meter, signals, progress, options)
        self.evaluation = RunEvaluation(self.context)
        self.start = RunStart(self.context, self.evaluation)
        self.learning = ExperienceLearning(self.context, StageTraining(self.context))
        self.commit = ExperienceCommit(self.context)
        self.probing = Probing(self.context)

    def prepare(self) -> None:
        """Read an earlier part of the run, and refuse what cannot work before anything is written.

        Raises:
            UserError: The plan, the base checkpoint or the earlier part of the run does not fit.
        """
        self.start.prepare()

    def fit(self) -> schema.Results:
        """Run the stream to its end, starting after the last finished part in the run directory.

        Returns:
            The results; they are in results.json as well.

        Raises:
            UserError: The run cannot start, or training failed. Finished experiences are kept.
        """
        self.start.prepare()
        results = self.start.begin()
        first, stop_after = self.context.record.done, self.context.options.stop_after
        ahead = list(self.context.datamodule.stream)[first : None if stop_after is None else stop_after + 1]
        with _unfilled_memory(), _prompt_collection() as collect:
            for experience in ahead:
                results = self._experience(experience, may_resume=experience.index == first)
                collect()
                self._stop_if_asked()
        if results is None:
            raise ConfigError("The stream has no experience.")
        return results

    def _experience(self, experience: Experience, may_resume: bool) -> schema.Results:
        """Learn one experience, evaluate, and save the results."""
        context = self.context
        context.position.experience = experience.index
        context.progress.experience(experience)
        learned = self.learning.learn(experience, resumed=may_resume and context.options.resume)
        self._stop_if_asked()
        evaluated = self.evaluation.evaluate(experience)
        self.commit.record(experience, learned, evaluated)
        if context.options.probe:
            self.probing.probe(experience)
        if context.recipes:
            with context.meter.task(f"experience {experience.index}: recipes"):
                for recipe in context.recipes:
                    recipe.after_experience(context.moment(experience, None))
        results = self.commit.keep(experience)
        context.progress.experience_done(results)
        return results

    def _stop_if_asked(self) -> None:
        """Stop if any process has received a signal."""
        asked = torch.tensor(int(self.context.signals.received is not None), device=self.context.process.device)
        if sum_over_processes(asked):
            self.context.signals.stop()

    def draw_figures(self) -> None:
        """Draw the figures of the run directory if the last experience is finished."""
        context = self.context
        if context.process.rank == 0:
            context.position.experience = context.record.done - 1
            draw_run(
                self.commit.results(complete=False),
                [experience.name for experience in context.datamodule.stream],
                context.record.last_predictions,
                context.datamodule.image,
                context.directory,
                context.trainers.loggers,
                context.position,
            )

    def finish(self) -> schema.Results:
        """Mark the run as complete if all experiences are finished; called after its figures are drawn."""
        context = self.context
        results = self.commit.results(complete=context.record.done == len(context.datamodule.stream))
        if context.process.rank == 0:
            write_results(results, context.directory.results)
        return results

    def close(self) -> None:
        """Close feature cache and loggers, leave the process group and wait until the other processes have ended."""
        self.context.features.close()
        self.start.close()


@contextmanager
def _unfilled_memory() -> Iterator[None]:
    """Leave new memory as it is, also with trainer.deterministic.

    torch fills it with NaN then, to show who reads what was never written. This takes time, and bfloat16 kernels of oneDNN
    on CPUs with AMX carry NaN that lies beside a matrix into their result (uxlfoundation/oneDNN, issue 5717).
    """
    settings: Any = torch.utils.deterministic  # a module with properties, which its types lack
    before = settings.fill_uninitialized_memory
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        settings.fill_uninitialized_memory = before


@contextmanager
def _prompt_collection() -> Iterator[Callable[[], object]]:
    """Free each experience's Trainer at once.

    A Trainer is a reference cycle of few objects that hold many megabytes. Python's garbage collector starts by the number
    of objects, so Trainers would accumulate over a long stream. Existing objects are frozen, which makes a collection take
    milliseconds; if the caller has frozen objects, they stay frozen.
    """
    own = gc.get_freeze_count() == 0
    if own:
        gc.freeze()
    try:
        yield gc.collect
    finally:
        if own:
            gc.unfreeze()
