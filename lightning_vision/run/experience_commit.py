"""Saves a finished experience: in the record, the loggers and the run directory."""

from __future__ import annotations

import resource
import sys
from functools import cached_property

import lightning
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from lightning_vision.class_path import class_path
from lightning_vision.data.process_group import wait_for_processes
from lightning_vision.data.stream import Experience
from lightning_vision.learning.checkpoint_file import save_checkpoint
from lightning_vision.learning.network_cost import Passes, count_macs
from lightning_vision.results import schema
from lightning_vision.results.environment import path_hashes
from lightning_vision.results.record import group_hashes
from lightning_vision.results.schema import write_results
from lightning_vision.run.experience_learning import Learned
from lightning_vision.run.kept_memory import kept_bytes
from lightning_vision.run.run_budget import budget_record
from lightning_vision.run.run_context import RunContext
from lightning_vision.run.run_evaluation import Evaluated
from lightning_vision.tracking.energy import Usage
from lightning_vision.tracking.loggers import log_experience


class ExperienceCommit:
    """Saves the results of a run.

    Args:
        context: The run.
    """

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self._passes: Passes = {}

    def record(self, experience: Experience, learned: Learned, evaluated: Evaluated) -> None:
        """Add an experience to the record; nothing is written yet.

        Args:
            experience: The experience that was learned and evaluated.
            learned: The costs of its learning.
            evaluated: The results of its evaluation.
        """
        context, model = self.context, self.context.model
        for note in model.learner.notes(model.network):
            context.note(f"after experience {experience.index}: {note}")
        self._note_missing_energy(experience.index, learned.used)
        context.macs = count_macs(model.learner, model.network, model.image_size, self._passes)
        used, trained = learned.used, learned.trained
        if trained.stopped_by_budget:
            context.note(
                f"experience {experience.index}: its share of the budget of {context.options.budget} was used up."
            )
        record = schema.ExperienceRecord(
            index=experience.index,
            name=experience.name,
            classes=list(experience.classes),
            train_samples=len(experience.indices),
            val_samples=len(experience.val_indices),
            test_samples=len(experience.test_indices),
            epochs=trained.epochs,
            steps=trained.optimizer_steps,
            stopped_by_budget=trained.stopped_by_budget,
            stopped_early=trained.stopped_early,
            seconds=used.seconds,
            samples_per_second=trained.samples / used.seconds if trained.samples and used.seconds else None,
            energy_kwh=used.energy_kwh,
            co2eq_kg=used.co2eq_kg,
            trainable_parameters=trained.parameters,
            peak_memory_bytes=_peak_memory(context.process.device),
            backbone_images=learned.backbone_images,
            learning_rate=model.found_learning_rate,
            batch_size=context.datamodule.batch_size,
            evaluation=evaluated.cost if learned.anytime is None else learned.anytime.added_to(evaluated.cost),
        )
        facts = {
            name: {fact: dict(zip(model.class_names, values, strict=True)) for fact, values in found.items()}
            for name, found in model.learner.variant_facts(model.network).items()
        }
        learner = model.learner
        context.record.add(
            evaluated.test,
            evaluated.validation,
            evaluated.picked,
            facts,
            record,
            learner.variant_key,
            learner.variant_values,
        )
        if learned.anytime is not None and context.record.anytime is not None:
            context.record.anytime.accuracy += learned.anytime.accuracy

    def keep(self, experience: Experience) -> schema.Results:
        """Write weights and predictions first and results.json last, because it states what is finished."""
        context, model, directory = self.context, self.context.model, self.context.directory
        checkpoint = {
            "pytorch-lightning_version": lightning.__version__,
            "state_dict": model.state_dict(),
            "hyper_parameters": dict(model.hparams),
            "lightning_vision_steps": context.position.step_offset,
        }
        model.on_save_checkpoint(checkpoint)
        results = self.results(complete=False)
        self._log(results)  # before results.json marks the experience as finished: every finished experience is logged
        if context.process.rank == 0:
            if not (experience.index == 0 or self._ends_with(experience)):
                checkpoint = context.frozen.left_out(checkpoint, write=True)
            save_checkpoint(checkpoint, directory.finished(experience.index))
            context.record.save_predictions(directory.predictions, *self._test_hashes)
            write_results(results, directory.results)
            directory.drop_within(experience.index)
            directory.prune(context.options.keep_checkpoints)
            context.frozen.drop_unused(ends=self._ends_with(experience))
        wait_for_processes()
        return results

    def _note_missing_energy(self, index: int, used: Usage) -> None:
        meter, said = self.context.meter, "energy is not measured from here on"
        if meter.mode is None or used.energy_kwh is not None or any(said in note for note in self.context.record.notes):
            return
        self.context.note(
            f"experience {index}: {said}, because {meter.failure or 'another node could not measure it'}."
        )

    @cached_property
    def _test_hashes(self) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.str_] | None]:
        """(N,) the hashes of the test images' paths, and of their groups if they have some: the same after each experience."""
        tested = self.context.datamodule.samples.iloc[self.context.record.test_index]
        return path_hashes(tested["path"].tolist()), group_hashes(tested)

    def _ends_with(self, experience: Experience) -> bool:
        """Whether the run ends with an experience."""
        last = len(self.context.datamodule.stream) - 1
        return experience.index in (last, self.context.options.stop_after)

    def results(self, complete: bool) -> schema.Results:
        """The results so far, as in results.json.

        Args:
            complete: The stream's last experience is finished, and so are its figures.
        """
        context, model, datamodule = self.context, self.context.model, self.context.datamodule
        options, meter = context.options, context.meter
        described = datamodule.describe()
        energy = None
        if meter.mode is not None:
            energy = schema.Energy(mode=meter.mode, country=meter.country, grid_gco2_per_kwh=meter.grid_gco2_per_kwh)
        base = options.base_strategy_config or {"class_path": class_path(model.base_strategy), "init_args": {}}
        found = context.record.results(
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
                tune_on=options.tune_on,
            ),
            network=schema.Network(
                backbone=model.network.facts.name,
                total_parameters=sum(p.numel() for p in model.network.parameters()),
                macs=context.macs,
            ),
            energy=energy,
            environment=context.process.environment,
            features=context.features.record,
            memory_bytes=kept_bytes(
                model.strategy, datamodule.stream.experiences[: context.record.done], model.image_size, model.network
            ),
        )
        return found.model_copy(update={"budget": budget_record(context)})

    def _log(self, results: schema.Results) -> None:
        """Log one row for each experience in every logger, and the most frequent confusions as a table."""
        record = results.experiences[-1]
        scalars: dict[str, float | None] = {
            "test/accuracy": results.test_accuracy[-1],
            "test/seen_accuracy": results.seen_accuracy[-1],
            "test/task_accuracy": None if results.task is None else results.task.accuracy[-1],
            "test/probe_accuracy": None if results.probe is None else results.probe.accuracy[-1],
            "test/macro_f1": results.test.macro_f1,
            "test/ece": results.test.ece,
            "stream/average_accuracy": results.average_accuracy,
            "stream/average_anytime_accuracy": results.average_anytime_accuracy,
            "stream/average_incremental_accuracy": results.average_incremental_accuracy,
            "stream/forgetting": results.forgetting,
            "stream/backward_transfer": results.backward_transfer,
            "stream/forward_transfer": results.forward_transfer,
            "energy/kwh": results.totals.energy_kwh,
            "energy/co2eq_kg": results.totals.co2eq_kg,
            "energy/seconds": results.totals.seconds,
            "stream/learning_seconds": record.seconds,
            "stream/memory_bytes": results.memory_bytes,
        }
        scalars |= {f"test/accuracy/{name}": variant.test_accuracy[-1] for name, variant in results.variants.items()}
        table = pd.DataFrame(
            [dict(row) for row in results.test.top_confusions], columns=["true", "predicted", "count", "share"]
        )
        log_experience(self.context.trainers.loggers, self.context.position, scalars, tables={"confusion/top": table})


def _peak_memory(device: torch.device) -> int:
    """Peak memory of this process in bytes: on the GPU if it trains there."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
