"""The program behind the command line: LightningCLI with subcommands that walk a stream."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, cast

from jsonargparse import ActionYesNo, Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from rich.console import Console

import datamodules as datamodules
import lightning_vision.recipes as known_recipes  # noqa: F401 - for short names
import strategies as strategies
from lightning_vision.class_path import short_name
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import CheckpointError, ConfigError
from lightning_vision.explanation.options import ExplainOptions
from lightning_vision.exporting.options import ExportOptions
from lightning_vision.learning.checkpoints import (
    check_fits,
    check_same_strategies,
    find_checkpoint,
    match_classes,
    read_checkpoint,
    use_classes,
)
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.recipe import take_recipes
from lightning_vision.learning.stop_signals import StopSignals
from lightning_vision.learning.trainer_factory import TrainerFactory
from lightning_vision.learning.trainer_options import TRAINER_DEFAULTS, check_trainer_options
from lightning_vision.program import parser_errors
from lightning_vision.program.argument_parser import StreamArgumentParser
from lightning_vision.program.loaded_checkpoint import experience_at
from lightning_vision.program.options import OPTIONS, EnergyOptions, WandbOptions
from lightning_vision.program.plain_config import component, plain, use_plain_values
from lightning_vision.results.resume_options import binding
from lightning_vision.results.run_directory import RunDirectory, safe_name
from lightning_vision.results.same_options import Kept, check_same_options
from lightning_vision.results.schema import read_results
from lightning_vision.run.stream_run import RunOptions, StreamRun
from lightning_vision.storage.atomic_write import write_atomically
from lightning_vision.storage.links_out import refuse_links_out
from lightning_vision.terminal.first_rank import is_first
from lightning_vision.terminal.wording import plural
from lightning_vision.tracking.country import check_country
from lightning_vision.tracking.energy import EnergyMeter
from lightning_vision.tracking.loggers import close_loggers
from lightning_vision.tracking.metrics_csv import MetricsCSV
from lightning_vision.tracking.progress import StreamProgress
from lightning_vision.tracking.wandb_logger import earlier_run_id, make_wandb_logger
from lightning_vision.trust.options import TrustOptions


class NeedsOwnProcess(Exception):  # noqa: N818 - a message between two functions, not an error
    """Several processes are asked for, and Lightning starts them by a command line that is not this process's."""


class StreamTrainer(Trainer):
    """Lightning's Trainer, which subcommands are looked up in, with one that it does not know."""

    def data(self) -> None:
        """Describe the data; ``StreamCLI.data`` does."""

    def explain(self, ckpt_path: str | None = None) -> None:
        """Show what a checkpoint looks at; ``StreamCLI.explain`` does.

        Args:
            ckpt_path: A checkpoint file or a run directory.
        """

    def export(self, ckpt_path: str | None = None) -> None:
        """Write a checkpoint's classifier for other machines; ``StreamCLI.export`` does.

        Args:
            ckpt_path: A checkpoint file or a run directory.
        """


class StreamCLI(LightningCLI):
    """``fit`` walks the stream; the rest are Lightning's subcommands for a checkpoint of it."""

    def __init__(self, args: list[str], own_process: bool) -> None:
        self.own_process = own_process
        self.words, self.asked = args, args[0] if args else ""
        parser_errors.install()
        super().__init__(
            ContinualClassifier,
            StreamDataModule,
            save_config_callback=None,
            trainer_class=StreamTrainer,
            trainer_defaults=TRAINER_DEFAULTS,
            seed_everything_default=0,
            parser_class=StreamArgumentParser,
            # An abbreviation would be taken for an option that a later version names so.
            parser_kwargs={"prog": "lightning-vision", "allow_abbrev": False},
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            args=args,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # a static method of the base, called on self
        """The subcommand asked for, or all; and the arguments of Lightning's methods that are not options.

        A parser for each takes a tenth of a second to make.
        """
        loaders = {
            "model",
            "datamodule",
            "dataloaders",
            "train_dataloaders",
            "val_dataloaders",
            "weights_only",
            "verbose",
        }
        known = {
            "fit": loaders,
            "validate": loaders,
            "test": loaders,
            "predict": {*loaders, "return_predictions"},
            "data": set[str](),
            "explain": set[str](),
            "export": set[str](),
        }
        return {self.asked: known[self.asked]} if self.asked in known else known

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        """As LightningCLI does, but that the method ``data`` cannot have a group of options of its own name."""
        if subcommand != "data":
            prepared = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
            if subcommand in OPTIONS:
                self._subcommand_method_arguments[subcommand] += prepared.add_class_arguments(OPTIONS[subcommand])
            return prepared
        parser = self.init_parser(**kwargs)
        self._add_arguments(parser)
        parser.add_argument(
            "--output", type=str | None, default=None,
            help="The HTML page that is written. Default: data-<datamodule>.html in trainer.default_root_dir.",
        )  # fmt: skip
        self._subcommand_method_arguments[subcommand] = ["output"]
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Our own options, and what the datamodule tells the model."""
        self.subparser = cast(StreamArgumentParser, parser)  # of the subcommand: no other is made
        parser.add_argument(
            "--run_name",
            type=str | None,
            default=None,
            help="The run directory's name, below trainer.default_root_dir.",
        )
        parser.add_argument(
            "--overwrite", action=ActionYesNo, nargs="?", default=False, help="Delete a run of that name first."
        )
        parser.add_argument(
            "--keep_checkpoints", type=Literal["last", "all"] | int, default="last",
            help="Of finished experiences: the base and the last, the last n, or all.",
        )  # fmt: skip
        parser.add_argument(
            "--stop_after", type=int | None, default=None,
            help="Stop after the experience of this number (0: the base alone); --ckpt_path last goes on.",
        )  # fmt: skip
        parser.add_argument(
            "--trust_run", action=ActionYesNo, nargs="?", default=False,
            help="Whoever made the run directory is trusted: its config.yaml may name any class, which is code that is run, and "
            "its files may be links to elsewhere.",
        )  # fmt: skip
        parser.add_class_arguments(EnergyOptions, "energy")
        parser.add_class_arguments(WandbOptions, "wandb")
        parser.link_arguments("data.class_names", "model.class_names", apply_on="instantiate")
        parser.link_arguments("data.image_size", "model.image_size", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; errors name the options and classes that were near.

        Raises:
            ConfigError: An option cannot be used.
        """
        try:
            super().parse_arguments(parser, args)
        except ConfigError as error:
            raise ConfigError(self.subparser.explain(error)) from error
        use_plain_values(self.config)
        seed = self.config[args[0]].seed_everything
        if seed is False or seed is None or not 0 <= int(seed) < 2**32:
            raise ConfigError(
                f"seed_everything: expected a number from 0 to {2**32 - 1}, or true for a random one; found {seed}."
            )

    def _parse_ckpt_path(self) -> None:
        """Nothing: Lightning would put a checkpoint's options over those of the command line without a word."""

    def before_instantiate_classes(self) -> None:
        """Refuse what cannot work before anything is loaded, and leave several processes to a process of their own."""
        config = self.config[str(self.subcommand)]
        check_trainer_options(config.trainer.as_dict())
        check_country(config.energy.country)
        keep = config.keep_checkpoints
        if isinstance(keep, int) and keep < 1:
            raise ConfigError(f"keep_checkpoints: expected last, all or a number from 1 on, found {keep}.")
        if config.stop_after is not None and config.stop_after < 0:
            raise ConfigError(
                f"stop_after: expected the number of an experience, from 0 on, found {config.stop_after}."
            )

    def instantiate_classes(self) -> None:
        """Model and data; Trainers are built for each experience."""
        config = self.config[str(self.subcommand)]
        probe = self._probe()
        launches = _starts_processes(probe)
        if probe.world_size > 1 and launches and not self.own_process:
            raise NeedsOwnProcess
        self.trainer = probe
        self.directory: RunDirectory | None = None
        if self.subcommand == "fit":
            self.name = self._run_name(config)
            self.directory = RunDirectory(Path(config.trainer.default_root_dir) / self.name)
            for kept in self._check_directory(config, self.directory):
                self._keep(kept)
        if self.subcommand == "data":  # without the model, whose weights it would fetch
            parser = StreamArgumentParser()
            parser.add_subclass_arguments(StreamDataModule, "data")
            asked = cast(Any, Namespace)(data=config.data.clone())
            self.datamodule, self.model = parser.instantiate_classes(asked).data, None
            self.config_init = {"data": config}
            return
        self.config_init = self.parser.instantiate_classes(self.config)
        built = self.config_init[str(self.subcommand)]
        self.datamodule, self.model = built.data, built.model

    def _probe(self) -> Trainer:
        """A Trainer of these options that tells the number of processes and the device.

        Raises:
            ConfigError: Lightning refuses an option.
        """
        self.trainer_parser = StreamArgumentParser()
        self.trainer_parser.add_lightning_class_args(Trainer, "trainer")
        try:
            return _make_probe(self._build_trainer_options())
        except (ValueError, TypeError) as error:
            raise ConfigError(f"Lightning refuses an option of the trainer: {error}") from error

    def _build_trainer_options(self) -> dict[str, Any]:
        trainer = self.config[str(self.subcommand)].trainer
        options = self.trainer_parser.instantiate_classes(cast(Any, Namespace)(trainer=trainer.clone())).trainer
        return dict(vars(options)) if isinstance(options, Namespace) else dict(options)

    # ---- fit -------------------------------------------------------------------------------------------------------

    def _run_name(self, config: Namespace) -> str:
        if config.run_name:
            return safe_name(config.run_name)
        scenario = config.data.init_args.get("stream")
        words = [
            short_name(config.model.strategy, "FullFineTune"),
            short_name(scenario, "InstanceIncremental"),
            f"seed={config.seed_everything}",
        ]
        if "WANDB_SWEEP_ID" in os.environ:  # the runs of a W&B sweep differ in options that are not in the name
            words.append(os.environ.get("WANDB_RUN_ID", ""))
        return safe_name("-".join(words))

    def _check_directory(self, config: Namespace, directory: RunDirectory) -> list[Kept]:
        """Look at what is there, before anything is loaded; nothing is changed yet.

        Returns:
            The options whose default has changed since the run was started.
        """
        ckpt_path = config.get("ckpt_path")
        if ckpt_path not in (None, "last"):
            raise ConfigError(
                f"fit --ckpt_path: expected 'last' (go on with this run), found {ckpt_path!r}. To start from another run's "
                "weights use model.base_checkpoint."
            )
        self.resume = ckpt_path == "last"
        if self.resume and not config.trust_run:
            refuse_links_out(directory.path)
        self.plain_config = plain(self.parser, self.config, str(self.subcommand))
        written = directory.config.is_file()
        kept = (
            check_same_options(directory.read_config(), self.plain_config, directory.path)
            if self.resume and written
            else []
        )
        if is_first():
            directory.check(resume=self.resume, overwrite=bool(config.overwrite))
        base = config.model.base_checkpoint
        if (
            config.overwrite
            and base
            and directory.path.resolve() in (Path(base).resolve(), *Path(base).resolve().parents)
        ):
            raise ConfigError(
                f"--overwrite would delete {directory.path}, and model.base_checkpoint ({base}) is in it. Give this run "
                "another name by --run_name."
            )
        return kept

    def _keep(self, kept: Kept) -> None:
        """Give an option the value that the run was started with."""
        say(f"Going on with {kept}.")
        node: Any = self.config[str(self.subcommand)]
        *parents, last = kept.key.split(".")
        for name in parents:
            node = node[int(name)] if isinstance(node, list) else node[name]
        node[last] = kept.before
        self.plain_config = plain(self.parser, self.config, str(self.subcommand))

    def fit(self, model: ContinualClassifier, datamodule: StreamDataModule, ckpt_path: str | None = None) -> None:
        """Run the stream, or go on with it."""
        config = self.config.fit
        directory = self.directory
        if directory is None:
            raise ConfigError("fit needs a run directory.")
        if self._is_complete(directory):
            return
        with self._held(directory):
            # Again: another process may have had it meanwhile.
            if self._check_directory(config, directory):
                raise ConfigError(f"Another process has begun {directory.path} meanwhile. Give the same command again.")
            if not self._is_complete(directory):
                self._fit(model, datamodule, directory)

    def _held(self, directory: RunDirectory) -> AbstractContextManager[None]:
        """Keep other processes out of a run directory; of this run's own, rank 0 alone writes."""
        return directory.held(shlex.join(["lightning-vision", *self.words])) if is_first() else nullcontext()

    def _is_complete(self, directory: RunDirectory) -> bool:
        """Whether a run that is to be gone on with has come to its end; then it says so."""
        complete = self.resume and directory.results.is_file() and read_results(directory.results).run.complete
        if complete:
            say(f"The run {directory.path} is complete; nothing to do. Its figures are in {directory.results}.")
        return complete

    def _fit(self, model: ContinualClassifier, datamodule: StreamDataModule, directory: RunDirectory) -> None:
        """Run the stream; the directory is this process's own."""
        config = self.config.fit
        if self.resume and not directory.results.is_file():
            found = any(directory.checkpoints.glob("*.ckpt"))
            say(
                f"Nothing finished in {directory.path} yet: going on with the first experience."
                if found
                else f"Nothing saved in {directory.path} yet: starting afresh."
            )
        probe = self.trainer
        meter = EnergyMeter(
            directory.path,
            config.energy.country,
            config.energy.power_watts,
            config.energy.enabled,
            local_rank=probe.local_rank,
            node_rank=probe.node_rank,
        )
        progress = StreamProgress(enabled=config.trainer.enable_progress_bar is not False)
        digest = hashlib.sha256(
            json.dumps(binding(self.plain_config), sort_keys=True, default=str).encode()
        ).hexdigest()
        plain_model = self.plain_config["model"]
        options = RunOptions(
            name=self.name,
            seed=int(config.seed_everything),
            resume=self.resume,
            keep_checkpoints=config.keep_checkpoints,
            stop_after=config.stop_after,
            strategy_config=component(plain_model.get("strategy"), model.strategy),
            base_strategy_config=component(plain_model.get("base_strategy"), model.base_strategy),
            config_hash=digest,
        )
        trainers = TrainerFactory(self._build_trainer_options, directory.path, [])
        signals = StopSignals()
        run = StreamRun(model, datamodule, trainers, directory, meter, signals, progress, options)
        run.prepare()
        if is_first():
            directory.prepare(resume=self.resume, overwrite=bool(config.overwrite))
            self._save_config(directory)
        trainers.loggers = loggers = self._loggers(directory)
        try:
            with signals, meter:
                for line in _opening(self, model, datamodule, meter):
                    progress.say(line)
                run.fit()
                run.draw_figures()
                results = run.finish()
        finally:
            progress.close()
            close_loggers(loggers)
            run.close()
        if is_first():
            from lightning_vision.run.summary import print_summary

            print_summary(results, progress.console)
            progress.say(f"Everything is in {directory.path}")

    def _save_config(self, directory: RunDirectory) -> None:
        """Write config.yaml, which starts the same run again: neither goes on with this one nor deletes it."""
        config = self.config.fit.clone()
        config.ckpt_path, config.overwrite, config.trust_run = None, False, False
        dumped = self.subparser.dump(config, skip_none=False)
        write_atomically(directory.config, lambda path: _write_text(path, dumped))

    def _loggers(self, directory: RunDirectory) -> list[Logger]:
        """metrics.csv always; W&B and whatever the user asked for beside it."""
        config = self.config.fit
        asked = self._build_trainer_options().get("logger")
        csv = MetricsCSV(directory.path)
        if asked is False:
            return [csv]
        if asked is None or asked is True:
            wandb = make_wandb_logger(
                directory.path,
                name=self.name,
                group=config.wandb.group,
                job_type="Base" if config.stop_after == 0 else short_name(config.model.strategy, "FullFineTune"),
                config=self.plain_config,
                mode=config.wandb.mode,
                project=config.wandb.project,
                run_id=earlier_run_id(directory.path) if self.resume else None,
            )
            return [csv, wandb]
        return [csv, *(asked if isinstance(asked, (list, tuple)) else [asked])]

    # ---- a checkpoint ----------------------------------------------------------------------------------------------

    def validate(self, model: ContinualClassifier, datamodule: StreamDataModule, ckpt_path: str | None = None) -> None:
        """Loss and accuracy on the validation parts up to the checkpoint's experience."""
        from lightning_vision.run.checkpoint_tasks import validate

        validate(*self._with_checkpoint(ckpt_path))

    def test(
        self,
        model: ContinualClassifier,
        datamodule: StreamDataModule,
        ckpt_path: str | None = None,
        **options: Any,
    ) -> None:
        """Evaluate on the test set and rewrite the final metrics; then whether the classifier can be trusted, if asked."""
        from lightning_vision.run.checkpoint_tasks import test

        asked = TrustOptions(**options)
        checkpoint = self._with_checkpoint(ckpt_path)
        directory = RunDirectory(checkpoint[3].parent.parent)
        with self._held(directory) if directory.results.is_file() else nullcontext():
            test(*checkpoint)
        if asked.asked:
            from lightning_vision.trust.command import assess

            assess(*checkpoint, asked)

    def explain(
        self,
        model: ContinualClassifier,
        datamodule: StreamDataModule,
        ckpt_path: str | None = None,
        **options: Any,
    ) -> None:
        """Show what the classifier looks at where it errs."""
        from lightning_vision.explanation.command import explain

        explain(*self._with_checkpoint(ckpt_path, evaluates=False), ExplainOptions(**options))

    def export(
        self,
        model: ContinualClassifier,
        datamodule: StreamDataModule,
        ckpt_path: str | None = None,
        **options: Any,
    ) -> None:
        """Write the classifier for other machines, checked against the original."""
        from lightning_vision.exporting.command import export

        export(*self._with_checkpoint(ckpt_path, evaluates=False), ExportOptions(**options))

    def predict(self, model: ContinualClassifier, datamodule: StreamDataModule, ckpt_path: str | None = None) -> None:
        """Write predictions.csv."""
        from lightning_vision.run.checkpoint_tasks import predict

        predict(*self._with_checkpoint(ckpt_path))

    def data(self, model: None, datamodule: StreamDataModule, output: str | None = None) -> None:
        """Describe the data in the terminal and on a page."""
        from lightning_vision.data_report.page import write_page
        from lightning_vision.data_report.report import describe
        from lightning_vision.data_report.terminal import print_report

        config = self.config.data
        name = f"data-{type(datamodule).__name__}.html"
        path = Path(output) if output else Path(config.trainer.default_root_dir) / name
        report = describe(datamodule, int(config.seed_everything))
        print_report(report, Console(soft_wrap=True, highlight=False))
        write_page(report, datamodule, path)
        say(f"The page with images: {path}")

    def _with_checkpoint(
        self, ckpt_path: str | None, evaluates: bool = True
    ) -> tuple[ContinualClassifier, StreamDataModule, TrainerFactory, Path, int]:
        """Model and data for a checkpoint, the classes matched; its path and the experience that it is from.

        Args:
            ckpt_path: As the user gave it.
            evaluates: Images are evaluated as in the run, by whatever its recipes make of them.
        """
        if not ckpt_path:
            raise ConfigError(f"{self.subcommand} needs --ckpt_path: a checkpoint file or a run directory.")
        path = find_checkpoint(ckpt_path)
        checkpoint = read_checkpoint(path)
        names = match_classes(checkpoint["lightning_vision"]["class_names"], self.datamodule.class_names, path)
        use_classes(self.model, self.datamodule, names)
        check_fits(checkpoint, self.model, path)
        check_same_strategies(checkpoint, self.model, path)
        # The strategy is that of the checkpoint's run; the first checkpoints did not say of which seed it was.
        self.model.seed = int(
            checkpoint["lightning_vision"].get("seed", self.config[str(self.subcommand)].seed_everything)
        )
        experience = int(checkpoint["lightning_vision"]["experience"])
        for number in range(experience + 1):
            self.model.begin_experience(experience_at(self.datamodule.stream, number))
        try:
            self.model.load_state_dict(checkpoint["state_dict"])
        except RuntimeError as error:
            raise CheckpointError(
                f"{path} does not fit this model: {' '.join(str(error).split())[:300]} Use the options and the stream it "
                "was written with."
            ) from error
        self.model.picked_variant = checkpoint["lightning_vision"]["picked_variant"]
        strategy = self.model.strategy  # after the base too its prediction is the one, if it was given the base's data
        self.model.base_statistics = strategy.kind == "closed_form" and strategy.needs_base_data
        factory = TrainerFactory(self._build_trainer_options, path.parent.parent, [])
        for recipe in take_recipes(factory) if evaluates else []:
            recipe.before_run(self.model, self.datamodule)
        return self.model, self.datamodule, factory, path, experience


def is_given(words: list[str], option: str) -> bool:
    """Whether a flag is on, however it is written; the last of several counts."""
    values = [after for word, after in pairwise([*words, "--"]) if word == option]
    return bool(values) and values[-1].lower() not in ("false", "no")


def _starts_processes(trainer: Trainer) -> bool:
    """Whether Lightning would start the other processes itself, as it does but under torchrun and SLURM."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return trainer.strategy.launcher is not None and not getattr(environment, "creates_processes_externally", True)


def _make_probe(options: dict[str, Any]) -> Trainer:
    """A Trainer that tells the number of processes and the device; it runs nothing."""
    return StreamTrainer(
        **{
            **options,
            "logger": False,
            "callbacks": None,
            "enable_progress_bar": False,
            "enable_checkpointing": False,
            "profiler": None,
        }
    )


def _opening(cli: StreamCLI, model: ContinualClassifier, datamodule: StreamDataModule, meter: EnergyMeter) -> list[str]:
    """What is about to happen, in a few lines."""
    stream, trainer = datamodule.stream, cli.trainer
    parts = datamodule.samples["split"].value_counts()
    counts = ", ".join(f"{parts.get(part, 0)} {part}" for part in ("train", "val", "test"))
    parameters = sum(p.numel() for p in model.network.parameters())
    lines = [
        f"{type(datamodule).__name__}: {datamodule.num_classes} classes, {counts} images; {stream.scenario} with {plural(len(stream), 'experience')}",
        f"{type(model.strategy).__name__} on {model.network.facts.name} ({parameters / 1e6:.2f} M parameters), "
        f"{'1 process' if trainer.world_size == 1 else f'{trainer.world_size} processes'} on {trainer.accelerator.__class__.__name__.removesuffix('Accelerator')}",
    ]
    if meter.mode is not None:
        lines.append(
            f"energy: {meter.mode}, grid of {meter.country} ({meter.grid_gco2_per_kwh:.0f} g CO2eq/kWh; --energy.country)"
        )
    return lines


def say(text: str) -> None:
    """A line of the answer on standard output, from the first rank alone."""
    if is_first():
        print(text, flush=True)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
