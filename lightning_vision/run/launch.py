"""Launches a run, for the command line and for Python."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger

from lightning_vision.class_path import DEFAULT_STRATEGY, class_path, short_name, strategy_name
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import ConfigError
from lightning_vision.learning.budget import Budget
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.stop_signals import StopSignals
from lightning_vision.learning.trainer_factory import TrainerFactory
from lightning_vision.results.same_options import Kept, check_same_options
from lightning_vision.results.schema import Results, read_results
from lightning_vision.run.run_request import RunRequest
from lightning_vision.run.stream_run import RunOptions, StreamRun
from lightning_vision.storage.atomic_write import write_text_atomically
from lightning_vision.storage.links_out import refuse_links_out
from lightning_vision.terminal.first_rank import is_first
from lightning_vision.terminal.wording import plural
from lightning_vision.tracking.energy import EnergyMeter
from lightning_vision.tracking.loggers import check_loggers, close_loggers
from lightning_vision.tracking.metrics_csv import MetricsCSV
from lightning_vision.tracking.progress import StreamProgress
from lightning_vision.tracking.wandb_logger import earlier_run_id, make_wandb_logger

PARTS = {"train": "training", "val": "validation", "test": "test"}
"""The names of the parts of the split."""


class RunLaunch:
    """Checks the run directory, then runs, with other processes kept out of the directory.

    Args:
        request: The requested run.
    """

    def __init__(self, request: RunRequest) -> None:
        self.request, self.directory = request, request.directory
        self.progress = StreamProgress(enabled=request.progress)
        self.trained = False
        """Whether ``run`` trained something; False if the run was complete already."""

    def check(self) -> list[Kept]:
        """Check the run directory before model and data are built; nothing is changed.

        Returns:
            The options of a resumed run whose default has changed since it started. The caller builds model and data
            with the former values, and launches a request that has them too.

        Raises:
            UserError: The directory cannot be used for this run.
        """
        request, path = self.request, self.directory.path
        if request.resume and not request.trust_run:
            refuse_links_out(path)
        kept: list[Kept] = []
        if request.resume and self.directory.config.is_file():
            kept = check_same_options(self.directory.read_config(), request.config, path)
        if is_first():
            self.directory.check(resume=request.resume, overwrite=request.overwrite)
        base = request.base_checkpoint
        if request.overwrite and base and path.resolve() in (Path(base).resolve(), *Path(base).resolve().parents):
            raise ConfigError(
                f"--overwrite would delete {path}, and model.base_checkpoint ({base}) is in it. Give this run another name by "
                "--run_name."
            )
        return kept

    def run(
        self,
        model: ContinualClassifier,
        datamodule: StreamDataModule,
        trainer_options: Callable[[], dict[str, Any]],
        probe: Trainer,
    ) -> Results:
        """Run the stream to its end, starting where an earlier part of the run stopped.

        Args:
            model: The classifier.
            datamodule: Its data.
            trainer_options: Builds new keyword arguments of Lightning's Trainer, including logger and callbacks.
            probe: A Trainer with these options; see ``probe_trainer``.

        Returns:
            The contents of results.json, also if the run is complete already.

        Raises:
            UserError: Something that the user can fix.
            StopRequestedError: A signal stopped the run, which can be resumed.
        """
        done = self._complete()
        if done is not None:
            return done
        with self._held():
            # Checked again: another process may have used it in the meantime.
            if self.check():
                raise ConfigError(
                    f"Another process has started {self.directory.path} in the meantime. Repeat the command."
                )
            done = self._complete()
            return self._run(model, datamodule, trainer_options, probe) if done is None else done

    def _held(self) -> AbstractContextManager[None]:
        """Keep other processes out of a run directory; of this run's own processes, only rank 0 writes."""
        return self.directory.held(self.request.command) if is_first() else nullcontext()

    def _complete(self) -> Results | None:
        """The results of a run that is complete, after printing so; None if it can be resumed."""
        if not (self.request.resume and self.directory.results.is_file()):
            return None
        results = read_results(self.directory.results)
        if not results.run.complete:
            return None
        self.progress.say(
            f"The run {self.directory.path} is complete; nothing to do. Its results are in {self.directory.results}."
        )
        return results

    def _run(
        self,
        model: ContinualClassifier,
        datamodule: StreamDataModule,
        trainer_options: Callable[[], dict[str, Any]],
        probe: Trainer,
    ) -> Results:
        """Run the stream; this process has the lock on the directory."""
        request, directory, progress = self.request, self.directory, self.progress
        self._say_where_it_resumes()
        meter = EnergyMeter(
            directory.path,
            request.energy.country,
            request.energy.power_watts,
            request.energy.enabled,
            local_rank=probe.local_rank,
            node_rank=probe.node_rank,
        )
        options = RunOptions(
            name=request.name,
            seed=request.seed,
            resume=request.resume,
            keep_checkpoints=request.keep_checkpoints,
            stop_after=request.stop_after if request.tune_on is None else request.tune_on - 1,
            budget=None if request.budget is None else Budget.read(request.budget),
            tune_on=request.tune_on,
            probe=request.probe,
            strategy_config=request.component("strategy", model.strategy),
            base_strategy_config=request.component("base_strategy", model.base_strategy),
            config_hash=request.config_hash,
        )
        trainers = TrainerFactory(trainer_options, directory.path, [])
        signals = StopSignals()
        run = StreamRun(model, datamodule, trainers, directory, meter, signals, progress, options)
        run.prepare()
        self.trained = True
        if is_first():
            directory.prepare(resume=request.resume, overwrite=request.overwrite)
            write_text_atomically(directory.config, request.config_text)
        trainers.loggers = loggers = self._loggers(trainer_options().get("logger"))
        try:
            with signals, meter:
                for line in opening_lines(model, datamodule, probe, meter):
                    progress.say(line)
                run.fit()
                run.draw_figures()
                return run.finish()
        finally:
            progress.close()
            close_loggers(loggers)
            run.close()

    def _say_where_it_resumes(self) -> None:
        """Print a line if the run resumes and no experience is finished."""
        if self.request.resume and not self.directory.results.is_file():
            found = any(self.directory.checkpoints.glob("*.ckpt"))
            self.progress.say(
                f"Nothing finished in {self.directory.path} yet: resuming the first experience."
                if found
                else f"Nothing saved in {self.directory.path} yet: starting from the beginning."
            )

    def _loggers(self, asked: Any) -> list[Logger]:
        """The loggers: metrics.csv always, and W&B or the user's own.

        Args:
            asked: The Trainer's ``logger``.

        Raises:
            ConfigError: The user's own cannot write.
        """
        request, path = self.request, self.directory.path
        csv = MetricsCSV(path)
        if asked is False:
            return [csv]
        if asked is None or asked is True:
            strategy = short_name(request.config["model"].get("strategy"), DEFAULT_STRATEGY)
            wandb = make_wandb_logger(
                path,
                name=request.name,
                group=request.wandb.group,
                job_type="Base" if request.stop_after == 0 else strategy,
                config=request.config,
                mode=request.wandb.mode,
                project=request.wandb.project,
                run_id=earlier_run_id(path) if request.resume else None,
            )
            return [csv, wandb]
        own: list[Logger] = [*asked] if isinstance(asked, (list, tuple)) else [asked]
        check_loggers(own)
        return [csv, *own]


def opening_lines(
    model: ContinualClassifier, datamodule: StreamDataModule, trainer: Trainer, meter: EnergyMeter
) -> list[str]:
    """Print an overview of the run in a few lines."""
    stream = datamodule.stream
    parts = datamodule.samples["split"].value_counts()
    counts = ", ".join(f"{parts.get(part, 0)} {name}" for part, name in PARTS.items())
    parameters = sum(p.numel() for p in model.network.parameters())
    lines = [
        f"{type(datamodule).__name__}: {datamodule.num_classes} classes, {counts} images; {stream.scenario} with {plural(len(stream), 'experience')}",
        f"{strategy_name(class_path(model.strategy))} on {model.network.facts.name} ({parameters / 1e6:.2f} M parameters), "
        f"{'1 process' if trainer.world_size == 1 else f'{trainer.world_size} processes'} on {trainer.accelerator.__class__.__name__.removesuffix('Accelerator')}",
    ]
    if meter.mode is not None and not meter.failure:
        lines.append(
            f"energy: {meter.mode}, grid of {meter.country} ({meter.grid_gco2_per_kwh:.0f} g CO2eq/kWh; --energy.country)"
        )
    return lines
