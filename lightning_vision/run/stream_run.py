"""The main job: walk the stream, learn each experience with a fresh Trainer, evaluate, and keep what was found."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import lightning
import numpy as np
import pandas as pd
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Callback

from lightning_vision.class_path import class_path
from lightning_vision.data.batch import Batch
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.process_group import (
    equal_on_processes,
    leave_group,
    sum_over_processes,
    wait_for_processes,
)
from lightning_vision.data.stream import Experience
from lightning_vision.errors import CheckpointError, ConfigError, TrainingError
from lightning_vision.features.feature_serving import FeatureServing
from lightning_vision.learning.checkpoints import (
    check_fits,
    load_backbone,
    load_base,
    load_into,
    match_base,
    read_checkpoint,
    save_checkpoint,
    use_classes,
)
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.network_cost import count_macs
from lightning_vision.learning.recipe import Moment, plan_stages, take_recipes
from lightning_vision.learning.stage import Stage
from lightning_vision.learning.stage_checkpoints import best_checkpoint, last_checkpoint
from lightning_vision.learning.stage_tally import TallyInCheckpoint, Trained, Unfinished
from lightning_vision.learning.stop_signals import StopSignals
from lightning_vision.learning.strategy import Strategy
from lightning_vision.learning.trainer_factory import TrainerFactory
from lightning_vision.results import schema
from lightning_vision.results.environment import environment, path_hashes
from lightning_vision.results.predictions import Collector, Predictions
from lightning_vision.results.record import StreamRecord, group_hashes, test_parts
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.schema import read_results, write_results
from lightning_vision.run.experience_commit import peak_memory
from lightning_vision.run.plan_checks import check_plan
from lightning_vision.run.rank_processes import StartedProcesses, start_processes
from lightning_vision.run.run_evaluation import Batches
from lightning_vision.run.run_figures import draw_run
from lightning_vision.run.run_start import device_name
from lightning_vision.run.work_plan import cost, epochs_of, served, work
from lightning_vision.seeding import derive_seed
from lightning_vision.tracking.energy import EnergyMeter, Task, Usage
from lightning_vision.tracking.loggers import log_experience
from lightning_vision.tracking.metrics_csv import MetricsCSV
from lightning_vision.tracking.progress import StreamProgress
from lightning_vision.tracking.stream_position import StreamPosition, follow_stream


@dataclass
class RunOptions:
    """What a run is told beside model, data and trainer."""

    name: str
    seed: int = 0
    resume: bool = False
    keep_checkpoints: str | int = "last"
    stop_after: int | None = None
    """The experience after which the run stops, to be gone on with; None: the last."""
    strategy_config: dict[str, Any] = field(default_factory=dict)
    """class_path and init_args of the learning strategy, for the record."""
    base_strategy_config: dict[str, Any] | None = None
    config_hash: str = ""


class StreamRun:
    """One learning strategy on one stream with one seed.

    Args:
        model: The classifier.
        datamodule: Its data.
        trainers: Builds the Trainers.
        directory: Where the run is kept; prepared already.
        meter: Measures time and energy.
        signals: Turns signals into an orderly end.
        progress: Shows where the run is.
        options: The rest.
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
        self.model, self.datamodule, self.trainers = model, datamodule, trainers
        self.directory, self.meter, self.signals, self.progress = directory, meter, signals, progress
        self.options = options
        self.position = StreamPosition()
        self.macs: int | None = None
        self.saved: schema.Results | None = None
        self.base: tuple[Path, dict[str, Any]] | None = None
        self._prepared = False
        self.processes = StartedProcesses([])
        self.features = FeatureServing(model, datamodule, progress.say)
        self.recipes = take_recipes(trainers)

    # ---- the walk --------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Read what is to be gone on from, and refuse what cannot work before anything is written.

        Raises:
            UserError: The plan, the base checkpoint or the earlier part of the run does not fit.
        """
        self.saved = self._read_state()
        self.base = self._match_classes(self.saved)
        if self.base is not None:
            path, checkpoint = self.base
            check_fits(checkpoint, self.model, path, class_names=False)
        check_plan(self.model, self.datamodule)
        self.model.check_optimizers()
        self._prepared = True

    def fit(self) -> schema.Results:
        """Run the stream to its end, from wherever the run directory stands.

        Returns:
            What was found; it is in results.json as well.
        """
        if not self._prepared:
            self.prepare()
        saved, base, stream = self.saved, self.base, self.datamodule.stream
        for logger in self.trainers.loggers:
            follow_stream(logger, self.position)
        self.record = StreamRecord(stream, self.model.class_names, test_parts(stream))
        self.model.seed = self.options.seed
        self.model.batch_transform = self.datamodule.batch_transform
        weights = self.datamodule.class_weight_values()
        self.model.network.class_weights = None if weights is None else torch.tensor(weights, dtype=torch.float32)
        self._start_processes()
        for recipe in self.recipes:
            recipe.before_run(self.model, self.datamodule)
        self.features.open(self.trainers.evaluation(), self.device, saved.features if saved is not None else None)
        self.macs = count_macs(self.model)
        self.progress.begin(self._work(), len(saved.experiences) if saved is not None else 0)
        if saved is not None:
            self.record.restore(saved, self.directory)
            self._restore_model()
            self._tidy_up()
        else:
            for strategy in (self.model.base_strategy, self.model.strategy):
                strategy.before_stream(self.model.network)
            if base is not None:  # chance is then that of a new head on its features, which are needed anyway
                load_backbone(self.model, base[1])
            self._measure_chance()
            if base is not None:
                self._load_base(*base)
        self.first = self.record.done
        results = saved
        with _prompt_collection() as collect:
            for experience in list(stream)[self.record.done : self._end]:
                results = self._experience(experience)
                collect()
                self._stop_if_asked()
        if results is None:
            raise ConfigError("The stream has no experience.")
        return results

    def _work(self) -> list[float]:
        return work(self.model, self.datamodule, self._max_epochs, self.recipes, self.options.stop_after)

    @property
    def _max_epochs(self) -> int:
        """The Trainer's; one that is told steps or a time alone counts for one."""
        return self.trainers.build().get("max_epochs") or 1

    @property
    def _end(self) -> int:
        """The number of experiences to be finished in this go."""
        stop_after = self.options.stop_after
        return len(self.datamodule.stream) if stop_after is None else stop_after + 1

    def _read_state(self) -> schema.Results | None:
        """results.json of an earlier part of this run. Read by every process before any of them can change it."""
        if not (self.options.resume and self.directory.results.is_file()):
            return None
        saved = read_results(self.directory.results)
        datamodule = self.datamodule
        datamodule.use_class_names(saved.class_names)
        for key, now in (("stream_hash", datamodule.stream.hash), ("split_hash", datamodule.split_hash)):
            before = getattr(saved.run, key)
            if before != now:
                raise CheckpointError(
                    f"{self.directory.path} was run on other data: its {key} is {before[:12]}, now it is {now[:12]}. Images "
                    "were added, removed, renamed or relabelled. Put the data back as it was, or start another run by "
                    "--run_name (with model.base_checkpoint to go on from its weights)."
                )
        return saved

    def _match_classes(self, saved: schema.Results | None) -> tuple[Path, dict[str, Any]] | None:
        """Give data and model one class list, and return the base checkpoint if it is still to be loaded."""
        if saved is None and self.model.base_checkpoint:
            return match_base(self.model, self.datamodule)
        use_classes(self.model, self.datamodule, self.datamodule.class_names if saved is None else saved.class_names)
        return None

    def _start_processes(self) -> None:
        """Start the other processes of this run now, so that from here on all can talk to each other."""
        trainer = self.trainers.evaluation()
        if trainer.world_size > 1:
            smallest = min(len(experience.indices) for experience in self.datamodule.stream)
            if smallest < trainer.world_size:
                raise ConfigError(
                    f"An experience of {smallest} training image(s) cannot be shared by {trainer.world_size} processes. "
                    "Use fewer processes (trainer.devices) or fewer experiences."
                )
            launcher = trainer.strategy.launcher
            if launcher is not None:
                self.processes = start_processes(launcher)
            trainer.strategy.setup_environment()
        self.device = trainer.strategy.root_device
        self.world_size, self.rank = trainer.world_size, trainer.global_rank
        self.environment = environment(device_name(self.device), trainer.world_size, str(trainer.precision))

    def _restore_model(self) -> None:
        """Bring model and strategies to the end of the last finished experience."""
        path = self.directory.finished(self.record.done - 1)
        checkpoint = read_checkpoint(path)
        check_fits(checkpoint, self.model, path)
        load_into(self.model, self.datamodule.stream, checkpoint, path)
        self.position.step_offset = checkpoint["lightning_vision_steps"]

    def _tidy_up(self) -> None:
        """What a kill right after an experience was finished left lying, and rows that a finished run would not have."""
        if self.rank == 0:
            for t in range(self.record.done):
                self.directory.drop_within(t)
            self.directory.prune(self.options.keep_checkpoints)
        if self.record.done == len(self.datamodule.stream):
            self._resume_loggers(self.position.step_offset)

    def _load_base(self, path: Path, checkpoint: dict[str, Any]) -> None:
        torch.manual_seed(derive_seed(self.options.seed, "base"))
        for note in load_base(self.model, checkpoint, path):
            self._note(note)
        before = None
        if not self.datamodule.stream[0].is_base:
            predictions = self._evaluate(["test"], 0)[0]
            picked = checkpoint["lightning_vision"]["picked_variant"]
            before = predictions.one(picked if picked in predictions.variants else predictions.variants[0])
        self.record.start_from(str(path), before)

    def _measure_chance(self) -> None:
        """Accuracy of the untrained classifier on each test part, all classes allowed; its backbone is the given base's."""
        seen = self.model.network.seen.clone()
        self.model.network.seen.fill_(True)
        predictions = self._evaluate(["test"], 0)[0]
        self.model.network.seen.copy_(seen)
        self.record.chance = self.record.row(-1, predictions)

    # ---- one experience --------------------------------------------------------------------------------------------

    def _experience(self, experience: Experience) -> schema.Results:
        model, t = self.model, experience.index
        self.position.experience = t
        self.progress.experience(experience)
        model.base_statistics = False
        torch.manual_seed(derive_seed(self.options.seed, "experience", t))
        model.begin_experience(experience)
        kept = experience.is_base and model.base_checkpoint is not None
        begun = self._unfinished(t)
        trained = begun.trained
        images_before = model.network.backbone_images
        computed_before = self.features.counts.computed

        def learned_images() -> int:
            own = torch.tensor(model.network.backbone_images - images_before, device=self.device)
            return begun.images + int(sum_over_processes(own))

        self._learned_images = learned_images
        with self.meter.task(f"experience {t}: learning", begun.used) as task:
            epochs = epochs_of(model, experience, self._max_epochs)
            stages = [] if kept else plan_stages(model.learner, experience, self.recipes, epochs)
            if experience.is_base and model.strategy.kind == "closed_form" and model.strategy.needs_base_data:
                stages.append(Stage("base data", base_statistics=True))
            for number, stage in enumerate(stages):
                model.base_statistics = stage.base_statistics
                if number >= begun.stage:
                    self._stage(experience, number, stage, task, begun if number == begun.stage else None, trained)
            self._after_experience(experience)
        learning = self._over_nodes(task.used)
        backbone_images = learned_images()
        self.features.by_learning += self.features.counts.computed - computed_before
        self._stop_if_asked()
        with self.meter.task(f"experience {t}: evaluation") as task:
            validation, predictions = self._evaluate(["val", "test"], t)
        evaluating = self._over_nodes(task.used)
        evaluated = len(validation.index) + len(predictions.index)
        computed = self.features.evaluated()
        picked = self._pick(validation, predictions)
        for note in model.learner.notes(model.network):
            self._note(f"after experience {t}: {note}")
        record = schema.ExperienceRecord(
            index=t,
            name=experience.name,
            classes=list(experience.classes),
            train_samples=len(experience.indices),
            val_samples=len(experience.val_indices),
            test_samples=len(experience.test_indices),
            epochs=trained.epochs,
            stopped_early=trained.stopped_early,
            seconds=learning.seconds,
            samples_per_second=trained.samples / learning.seconds if trained.samples and learning.seconds else None,
            energy_kwh=learning.energy_kwh,
            co2eq_kg=learning.co2eq_kg,
            trainable_parameters=trained.parameters,
            peak_memory_bytes=peak_memory(self.device),
            backbone_images=backbone_images,
            learning_rate=model.found_learning_rate,
            batch_size=self.datamodule.batch_size,
            evaluation=schema.Evaluation(
                seconds=evaluating.seconds,
                energy_kwh=evaluating.energy_kwh,
                co2eq_kg=evaluating.co2eq_kg,
                images=evaluated,
                backbone_images=evaluated if computed is None else computed,
            ),
        )
        facts = {
            name: {fact: dict(zip(model.class_names, values, strict=True)) for fact, values in found.items()}
            for name, found in model.learner.variant_facts(model.network).items()
        }
        self.record.add(predictions, validation, picked, facts, record)
        if self.recipes:
            with self.meter.task(f"experience {t}: recipes"):
                for recipe in self.recipes:
                    recipe.after_experience(self._moment(experience, None))
        results = self._commit(experience)
        self.progress.experience_done(results)
        return results

    def _stage(
        self, experience: Experience, number: int, stage: Stage, task: Task, begun: Unfinished | None, trained: Trained
    ) -> None:
        """Train one stage, or go on with it."""
        model, t = self.model, experience.index
        torch.manual_seed(derive_seed(self.options.seed, "stage", t, number))
        parameters = model.begin_stage(stage.name, partial(self._change_groups, stage))
        model.found_learning_rate = None
        learner = model.learner
        closed_form = learner.kind == "closed_form"
        last = self.directory.within(t, number, "last")
        changing = [type(recipe).__name__ for recipe in self.recipes if recipe.needs_images]
        features = self.features.for_training(learner, " and ".join(changing))
        validates = served(self.datamodule, learner, experience)[1] > 0 and not closed_form
        self.signals.path = last
        callbacks: list[Callback] = [
            self.progress,
            TallyInCheckpoint(self.meter, task, self._learned_images, trained),
            self.signals,
            last_checkpoint(last),
        ]
        changes: dict[str, Any] = {}
        if stage.epochs is not None:
            changes["max_epochs"] = stage.epochs
        elif experience.is_base and model.base_epochs is not None:
            changes["max_epochs"] = model.base_epochs
        best = None
        if validates and model.restore_best:
            best = best_checkpoint(self.directory.within(t, number, "best"), model.monitor)
        trainer = self.trainers.training(
            callbacks, best, closed_form_passes=learner.passes if closed_form else None, validates=validates, **changes
        )
        begun = begun or Unfinished()
        self.datamodule.enter(
            t,
            self.options.seed,
            shuffle=not closed_form,
            memory=learner.memory(),
            memory_size=learner.memory_batch_size,
            epoch=begun.epoch,
            start_batch=begun.batch,
            all_seen=learner.learns_all_seen,
            features=features,
            augment=stage.augment,
        )
        if begun.path is not None:  # features are those of the weights that the stage goes on with
            model.load_state_dict(read_checkpoint(begun.path)["state_dict"])
        self.features.compute_for_stage(learner, features, validates)
        if self.recipes and not closed_form:
            model.to(self.device)
            model.network.eval()
            for recipe in self.recipes:
                recipe.before_stage(self._moment(experience, stage, resumed=begun.path is not None))
        self.progress.stage(stage.title, cost(learner))
        trainer.fit(model, datamodule=self.datamodule, ckpt_path=begun.path, weights_only=True if begun.path else None)
        model.to(self.device)
        if best is not None and best.best_model_path:
            model.load_state_dict(read_checkpoint(best.best_model_path)["state_dict"])
        if closed_form:
            self._check_equal_heads()
        trained.add(trainer, sum(p.numel() for p in parameters), served(self.datamodule, learner, experience)[0])
        self.position.step_offset += trainer.global_step

    def _change_groups(self, stage: Stage, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The optimizer's groups after all recipes had their say."""
        for recipe in self.recipes:
            groups = recipe.parameters_to_train(self.model.network, stage, groups)
        return groups

    def _moment(self, experience: Experience, stage: Stage | None, resumed: bool = False) -> Moment:
        """What a recipe is told."""
        return Moment(
            model=self.model,
            datamodule=self.datamodule,
            trainers=self.trainers,
            directory=self.directory,
            position=self.position,
            experience=experience,
            stage=stage,
            resumed=resumed,
            device=self.device,
            rank=self.rank,
            world_size=self.world_size,
            seed=self.options.seed,
            note=self._note,
        )

    def _check_equal_heads(self) -> None:
        """Weights moved by hand are the same on every process, or DDP would spread rank 0's over the others unseen.

        Raises:
            TrainingError: They differ.
        """
        state = [value for value in self.model.strategy.state_dict().values()] + list(
            self.model.network.head.state_dict().values()
        )
        sums = torch.tensor([float(value.double().sum()) for value in state], dtype=torch.float64, device=self.device)
        if not equal_on_processes(sums):
            raise TrainingError(
                f"{type(self.model.strategy).__name__} left different weights on different processes. A closed form must "
                "depend on nothing but the features and labels that update() is given."
            )

    def _after_experience(self, experience: Experience) -> None:
        model = self.model
        model.to(self.device)
        model.network.eval()
        torch.manual_seed(derive_seed(self.options.seed, "after", experience.index))
        strategies: list[Strategy] = [model.base_strategy, model.strategy] if experience.is_base else [model.strategy]
        for strategy in strategies:
            self.features.for_evaluation(strategy)
            strategy.after_experience(model.network, experience, Batches(self._ordered_batches, experience))
        model.network.eval()

    def _ordered_batches(self, experience: Experience) -> Iterator[Batch]:
        self.features.compute(experience.indices)
        for batch in self.datamodule.ordered_loader(experience.index, self.rank, self.world_size):
            moved: Batch = move_data_to_device(batch, self.device)
            if moved["valid"].any():
                yield self.model.on_after_batch_transfer(moved, 0)

    def _evaluate(self, parts: Sequence[Literal["val", "test"]], t: int) -> list[Predictions]:
        """One pass over each part: "val" is the validation parts of experiences 0..t, "test" the whole test set."""
        trainer = self.trainers.evaluation([self.progress, self.signals])
        self.features.for_evaluation(self.model.strategy, stays=self.features.backbone_stays())
        for part in parts:
            self.features.compute(self.datamodule.rows_to_evaluate(part, t if part == "val" else None))
        loaders = [
            self.datamodule.evaluation_loader(
                part, t if part == "val" else None, trainer.global_rank, trainer.world_size
            )
            for part in parts
        ]
        self.model.collectors = [Collector() for _ in parts]
        filled = [number for number, loader in enumerate(loaders) if len(loader)]
        collectors, self.model.collectors = self.model.collectors, [self.model.collectors[number] for number in filled]
        if filled:
            trainer.test(self.model, dataloaders=[loaders[number] for number in filled], verbose=False)
        self.model.to(self.device)
        return [collector.result(self.device) for collector in collectors]

    def _pick(self, validation: Predictions, predictions: Predictions) -> str:
        """The variant that is best on validation data, the first of equals; it becomes the network's head."""
        names = predictions.variants
        self.model.picked_variant = ""
        if names == ("",):
            return ""
        best = int(np.argmax(validation.accuracy())) if len(names) > 1 else 0
        self.model.learner.select_variant(self.model.network, names[best])
        self.model.picked_variant = names[best]
        return names[best]

    # ---- what is kept ----------------------------------------------------------------------------------------------

    def _unfinished(self, t: int) -> Unfinished:
        """What an interrupted attempt at this experience left; the loggers' rows beyond it are dropped."""
        if not self.options.resume or t > self.first:
            return Unfinished()
        found = self.directory.last_within(t)
        begun = Unfinished()
        if found is not None:
            stage, path = found
            checkpoint = read_checkpoint(path)
            check_fits(checkpoint, self.model, path)
            begun = Unfinished.read(path, stage, checkpoint)
        self.position.step_offset += begun.trained.steps
        self._resume_loggers(self.position.step_offset + begun.steps)
        return begun

    def _resume_loggers(self, step: int) -> None:
        """Drop what was logged beyond the step that the run goes on from: it is logged again."""
        for logger in self.trainers.loggers:
            if isinstance(logger, MetricsCSV):
                logger.resume_at(step)

    def _commit(self, experience: Experience) -> schema.Results:
        """Keep the experience: weights and predictions first, results.json last, for it says what is finished."""
        checkpoint = {
            "pytorch-lightning_version": lightning.__version__,
            "state_dict": self.model.state_dict(),
            "hyper_parameters": dict(self.model.hparams),
            "lightning_vision_steps": self.position.step_offset,
        }
        self.model.on_save_checkpoint(checkpoint)
        results = self._results(complete=False)
        self._log(results)  # before results.json says that the experience is finished: what is finished is logged
        if self.rank == 0:
            save_checkpoint(checkpoint, self.directory.finished(experience.index))
            tested = self.datamodule.samples.iloc[self.record.test_index]
            hashes = path_hashes(tested["path"].tolist())
            self.record.save_predictions(self.directory.predictions, hashes, group_hashes(tested))
            write_results(results, self.directory.results)
            self.directory.drop_within(experience.index)
            self.directory.prune(self.options.keep_checkpoints)
        wait_for_processes()
        return results

    def _results(self, complete: bool) -> schema.Results:
        model, datamodule, options = self.model, self.datamodule, self.options
        described = datamodule.describe()
        energy = None
        if self.meter.mode is not None:
            energy = schema.Energy(
                mode=self.meter.mode, country=self.meter.country, grid_gco2_per_kwh=self.meter.grid_gco2_per_kwh
            )
        base = options.base_strategy_config or {"class_path": class_path(model.base_strategy), "init_args": {}}
        return self.record.results(
            run=schema.Run(
                name=options.name,
                strategy=schema.Component(**(options.strategy_config or {"class_path": class_path(model.strategy)})),
                base_strategy=schema.Component(**base) if datamodule.stream[0].is_base else None,
                data=described,
                scenario=datamodule.stream.scenario,
                experiences=len(datamodule.stream),
                seed=options.seed,
                stream_hash=datamodule.stream.hash,
                split_hash=datamodule.split_hash,
                config_hash=options.config_hash,
                complete=complete,
            ),
            network=schema.Network(
                backbone=model.network.facts.name,
                total_parameters=sum(p.numel() for p in model.network.parameters()),
                macs=self.macs,
            ),
            energy=energy,
            environment=self.environment,
            features=self.features.record,
        )

    def _log(self, results: schema.Results) -> None:
        """One row an experience in every logger, and the surest confusions as a table."""
        record = results.experiences[-1]
        scalars: dict[str, float | None] = {
            "test/accuracy": results.test_accuracy[-1],
            "test/seen_accuracy": results.seen_accuracy[-1],
            "test/macro_f1": results.test.macro_f1,
            "test/ece": results.test.ece,
            "stream/average_accuracy": results.average_accuracy,
            "stream/average_incremental_accuracy": results.average_incremental_accuracy,
            "stream/forgetting": results.forgetting,
            "stream/backward_transfer": results.backward_transfer,
            "stream/forward_transfer": results.forward_transfer,
            "energy/kwh": results.totals.energy_kwh,
            "energy/co2eq_kg": results.totals.co2eq_kg,
            "energy/seconds": results.totals.seconds,
            "stream/learning_seconds": record.seconds,
        }
        scalars |= {f"test/accuracy/{name}": variant.test_accuracy[-1] for name, variant in results.variants.items()}
        table = pd.DataFrame(
            [dict(row) for row in results.test.top_confusions], columns=["true", "predicted", "count", "share"]
        )
        log_experience(self.trainers.loggers, self.position, scalars, tables={"confusion/top": table})

    def _stop_if_asked(self) -> None:
        """Stop if any process was asked to."""
        if sum_over_processes(torch.tensor(self.signals.received is not None, dtype=torch.int64, device=self.device)):
            self.signals.stop()

    def _note(self, text: str) -> None:
        self.record.notes.append(text)
        self.progress.say(text)

    def draw_figures(self) -> None:
        """Draw what the run directory holds, once the last experience is finished."""
        if self.rank == 0:
            self.position.experience = self.record.done - 1
            last = self.record.last_predictions
            draw_run(
                self._results(complete=False),
                [experience.name for experience in self.datamodule.stream],
                last,
                self.datamodule.image,
                self.directory,
                self.trainers.loggers,
                self.position,
            )

    def close(self) -> None:
        """Leave the other processes and wait until they have ended."""
        self.features.close()
        leave_group()
        self.processes.close()

    def finish(self) -> schema.Results:
        """Mark the run as complete if it came to the stream's end; to be called once its images are there too."""
        results = self._results(complete=self.record.done == len(self.datamodule.stream))
        if self.rank == 0:
            write_results(results, self.directory.results)
        return results

    def _over_nodes(self, used: Usage) -> Usage:
        """Energy of all nodes together; the time is this process's."""
        measured = 0.0 if used.energy_kwh is None else 1.0
        sums = torch.tensor(
            [measured, used.energy_kwh or 0.0, used.co2eq_kg or 0.0], dtype=torch.float64, device=self.device
        )
        any_measured, energy, carbon = sum_over_processes(sums).tolist()
        return Usage(used.seconds, energy, carbon) if any_measured else Usage(used.seconds)


@contextmanager
def _prompt_collection() -> Iterator[Callable[[], object]]:
    """Free each experience's Trainer at once.

    A Trainer is a cycle of few objects that hold many megabytes. Python looks for cycles by the number of objects, so
    over a long stream they would pile up. What is there already is left out, which makes a collection take milliseconds.
    """
    gc.freeze()
    try:
        yield gc.collect
    finally:
        gc.unfreeze()
