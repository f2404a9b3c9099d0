"""Starts a run: from the beginning, from a base checkpoint, or after its last finished experience."""

from __future__ import annotations

from pathlib import Path

import torch

from lightning_vision.data.new_classes import told_classes
from lightning_vision.data.process_group import in_group, leave_group
from lightning_vision.errors import CheckpointError, ConfigError
from lightning_vision.learning.checkpoint_file import Checkpoint
from lightning_vision.learning.checkpoint_identity import announce_grafts
from lightning_vision.learning.checkpoints import (
    check_fits,
    load_backbone,
    load_base,
    load_into,
    match_base,
    read_checkpoint,
    use_classes,
)
from lightning_vision.results.anytime import Anytime
from lightning_vision.results.environment import environment
from lightning_vision.results.record import StreamRecord, test_parts
from lightning_vision.results.schema import Results, read_results
from lightning_vision.run.anytime_accuracy import plan_of
from lightning_vision.run.online_checks import check_online
from lightning_vision.run.plan_checks import check_new_classes, check_plan, has_base, unused_base_options
from lightning_vision.run.rank_processes import StartedProcesses, start_processes
from lightning_vision.run.run_budget import check_budget
from lightning_vision.run.run_context import RunContext, RunProcess
from lightning_vision.run.run_evaluation import RunEvaluation
from lightning_vision.run.work_plan import work
from lightning_vision.seeding import derive_seed
from lightning_vision.terminal.wording import plural
from lightning_vision.tracking.loggers import resume_loggers
from lightning_vision.tracking.stream_position import follow_stream, leave_stream


class RunStart:
    """Brings a run to the point where its next experience begins.

    Args:
        context: The run.
        evaluation: Evaluates the initial network.
    """

    def __init__(self, context: RunContext, evaluation: RunEvaluation) -> None:
        self.context, self.evaluation = context, evaluation
        self.saved: Results | None = None
        """results.json of an earlier part of the run."""
        self.base: tuple[Path, Checkpoint] | None = None
        """The base checkpoint, if it has not been loaded yet."""
        self._processes = StartedProcesses([])
        self._makes_group = False
        """No process group existed before the run: the one that DDP creates, also for a single process, ends with the run."""
        self._prepared = False

    # ---- before anything is written --------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Read an earlier part of the run, and refuse what cannot work before anything is written. A second call does nothing.

        Raises:
            UserError: The plan, the base checkpoint or the earlier part of the run does not fit.
        """
        if self._prepared:
            return
        model = self.context.model
        self.context.datamodule.prepared.serve_base(has_base(model))
        if (first := self.context.options.tune_on) is not None:
            self.context.datamodule.prepared.tune_on(first)
        self.saved = self._read_saved()
        self.base = self._match_classes()
        model.network.announced_grafts = {}
        model.network.base_is_alone = False
        if self.base is not None:
            path, checkpoint = self.base
            model.network.base_is_alone = not self.context.datamodule.stream[0].is_base
            check_fits(checkpoint, model, path, class_names=False)
            check_new_classes(checkpoint, model, self.context.datamodule)
            announce_grafts(model.network, checkpoint["lightning_vision"])
        check_plan(model, self.context.datamodule)
        if self.context.datamodule.scenario.online:
            check_online(model, self.context.datamodule, self.context.max_epochs, self.context.recipes)
        model.stage_optimizer.check()
        self._prepared = True

    def _read_saved(self) -> Results | None:
        """results.json of an earlier part of this run. Read by every process before any of them can change it."""
        directory, datamodule = self.context.directory, self.context.datamodule
        if not (self.context.options.resume and directory.results.is_file()):
            return None
        saved = read_results(directory.results)
        datamodule.use_class_names(saved.class_names)
        if saved.base_classes is not None:
            datamodule.prepared.start_from(saved.base_classes)
        for key, now in (("stream_hash", datamodule.stream.hash), ("split_hash", datamodule.split_hash)):
            before = getattr(saved.run, key)
            if before != now:
                raise CheckpointError(
                    f"{directory.path} was run on other data: its {key} is {before[:12]}, now it is {now[:12]}. Images "
                    "were added, removed, renamed or relabelled. Restore the data, or start another run with --run_name "
                    "(and model.base_checkpoint to start from the weights of this one)."
                )
        return saved

    def _match_classes(self) -> tuple[Path, Checkpoint] | None:
        """Give data and model one class list, and return the base checkpoint if it has not been loaded yet."""
        model, datamodule = self.context.model, self.context.datamodule
        if self.saved is None and model.base_checkpoint:
            return match_base(model, datamodule)
        use_classes(model, datamodule, datamodule.class_names if self.saved is None else self.saved.class_names)
        return None

    # ---- the start -------------------------------------------------------------------------------------------------

    def begin(self) -> Results | None:
        """Start the other processes and prepare model, strategies and record for the next experience.

        Returns:
            The results of an earlier part of the run; None if nothing is finished.

        Raises:
            CheckpointError: The checkpoint of the last finished experience does not fit.
            ConfigError: The processes cannot share the experiences.
        """
        context, model, datamodule = self.context, self.context.model, self.context.datamodule
        for logger in context.trainers.loggers:
            follow_stream(logger, context.position)
        parts, known = test_parts(datamodule.stream), datamodule.prepared.base_classes
        context.record = StreamRecord(datamodule.stream, model.class_names, parts, base_classes=known)
        model.seed = context.options.seed
        model.batch_transform = datamodule.batch_transform
        weights = datamodule.class_weight_values()
        model.network.class_weights = None if weights is None else torch.tensor(weights, dtype=torch.float32)
        context.process = self._start_processes()
        if datamodule.scenario.online:
            every = plan_of(context).every * datamodule.batch_size * context.process.world_size
            context.record.anytime = Anytime(every)
        check_budget(context)
        for recipe in context.recipes:
            recipe.before_run(model, datamodule)
        context.features.open(
            context.trainers.evaluation(), context.process.device, self.saved.features if self.saved else None
        )
        context.macs = self.saved.network.macs if self.saved else None
        plan = work(model, datamodule, context.max_epochs, context.recipes, context.options.stop_after)
        context.progress.begin(plan, len(self.saved.experiences) if self.saved else 0)
        if self.saved is None:
            context.record.notes += [*datamodule.prepared.not_evaluated, *unused_base_options(model)]
            if (first := context.options.tune_on) is not None:
                context.note(
                    f"tune_on: what is called test accuracy is that on the validation images of the first "
                    f"{plural(first, 'experience')}. No test image was used."
                )
            self._start_afresh()
        else:
            self._resume(self.saved)
        return self.saved

    def close(self) -> None:
        """Close the loggers, leave the process group and wait until the other processes have ended."""
        for logger in self.context.trainers.loggers:
            leave_stream(logger)
        if self._makes_group:
            leave_group()
        self._processes.close()

    def _start_processes(self) -> RunProcess:
        """Start the other processes of this run, and the process group."""
        self._makes_group = not in_group()
        trainer = self.context.trainers.evaluation()
        if trainer.world_size > 1:
            smallest = min(len(experience.indices) for experience in self.context.datamodule.stream)
            if smallest < trainer.world_size:
                raise ConfigError(
                    f"Expected at least one training image per process in every experience, found an experience of "
                    f"{plural(smallest, 'image')} and {trainer.world_size} processes. Use fewer processes (trainer.devices) "
                    "or fewer experiences."
                )
            launcher = trainer.strategy.launcher
            if launcher is not None:
                self._processes = start_processes(launcher)
            trainer.strategy.setup_environment()
        device = trainer.strategy.root_device
        facts = environment(_device_name(device), trainer.world_size, str(trainer.precision))
        return RunProcess(device, trainer.global_rank, trainer.world_size, facts)

    # ---- a new run, with or without a base -------------------------------------------------------------------------

    def _start_afresh(self) -> None:
        """Measure the chance level, then load the base if there is one."""
        model = self.context.model
        for strategy in (model.base_strategy, model.strategy):
            strategy.before_stream(model.network)
        if self.base is not None:  # chance level of a new head on its features, which are needed anyway
            load_backbone(model, self.base[1])
        self._measure_chance()
        if self.base is not None:
            self._load_base(*self.base)

    def _measure_chance(self) -> None:
        """Accuracy of the untrained classifier on each test part over all classes, with the backbone of a given base."""
        network, record = self.context.model.network, self.context.record
        seen = network.seen.clone()
        network.seen.fill_(True)
        predictions = self.evaluation.predictions(["test"], 0)[0]
        network.seen.copy_(seen)
        record.chance = record.row(-1, predictions)

    def _load_base(self, path: Path, checkpoint: Checkpoint) -> None:
        """Load the base, and evaluate it if the stream begins with an increment."""
        context = self.context
        torch.manual_seed(derive_seed(context.options.seed, "base"))
        data = context.datamodule
        alone = context.model.network.base_is_alone
        continues = data.new_classes == "allow" and alone
        known = data.prepared.base_classes or []
        told = told_classes(known, data.samples, data.class_names) if data.new_classes == "allow" else []
        for note in [*told, *load_base(context.model, checkpoint, path, continues=continues, alone=alone)]:
            context.note(note)
        before = None
        if alone:
            predictions = self.evaluation.predictions(["test"], 0)[0]
            picked = checkpoint["lightning_vision"]["picked_variant"]
            before = predictions.one(picked if picked in predictions.variants else predictions.variants[0])
        context.record.start_from(str(path), before)

    # ---- resumed ---------------------------------------------------------------------------------------------------

    def _resume(self, saved: Results) -> None:
        """Restore model, strategies and record to the end of the last finished experience."""
        context = self.context
        context.record.restore(saved, context.directory)
        done, stream = context.record.done, context.datamodule.stream
        path = context.directory.finished(done - 1)
        checkpoint = read_checkpoint(path)
        check_fits(checkpoint, context.model, path)
        load_into(context.model, stream, checkpoint, path)
        context.position.step_offset = checkpoint["lightning_vision_steps"]
        if context.process.rank == 0:  # leftovers of a run that was killed right after the experience
            for t in range(done):
                context.directory.drop_within(t)
            context.directory.prune(context.options.keep_checkpoints)
            context.frozen.drop_unused(ends=False)
        if done == len(stream):  # rows after its end
            resume_loggers(context.trainers.loggers, context.position.step_offset)


def _device_name(device: torch.device) -> str:
    """The name of a GPU, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
