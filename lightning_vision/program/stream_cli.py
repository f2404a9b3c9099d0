"""The command line: LightningCLI with subcommands for a stream."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

from jsonargparse import ActionYesNo, Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from rich.console import Console

import datamodules as datamodules
import lightning_vision.recipes as known_recipes  # noqa: F401 - for short names
import strategies as strategies
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import ConfigError
from lightning_vision.explanation.options import ExplainOptions
from lightning_vision.exporting.options import ExportOptions
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.loaded_checkpoint import LoadedCheckpoint
from lightning_vision.learning.trainer_options import TRAINER_DEFAULTS, check_trainer_options
from lightning_vision.learning.trainer_probe import probe_trainer, starts_processes
from lightning_vision.program import parser_errors
from lightning_vision.program.absent_images import run_of, use_no_images
from lightning_vision.program.argument_parser import StreamArgumentParser
from lightning_vision.program.fit_command import fit, keep, run_request
from lightning_vision.program.kept_parsers import take_parsers
from lightning_vision.program.load_checkpoint import load_checkpoint
from lightning_vision.program.options import OPTIONS
from lightning_vision.program.plain_config import use_plain_values
from lightning_vision.program.run_arguments import add_run_arguments
from lightning_vision.program.trainer_arguments import TrainerArguments
from lightning_vision.run.launch import RunLaunch
from lightning_vision.run.run_request import RunRequest, check_run_options
from lightning_vision.terminal.first_rank import is_first
from lightning_vision.terminal.messages import print_line
from lightning_vision.tracking.mlflow_store import check_options
from lightning_vision.tracking.options import EnergyOptions, WandbOptions
from lightning_vision.trust.options import PredictOptions, TrustOptions


class NeedsOwnProcess(Exception):  # noqa: N818 - a signal between two functions, not an error
    """Several processes are requested, and Lightning would start them with a command line that is not this process's."""


class StreamTrainer(Trainer):
    """Lightning's Trainer, in which subcommands are looked up, with additional ones."""

    def data(self) -> None:
        """Describe the data; ``StreamCLI.data`` does."""

    def explain(self, ckpt_path: str | None = None) -> None:
        """Show what a checkpoint looks at; ``StreamCLI.explain`` does.

        Args:
            ckpt_path: A checkpoint file or a run directory.
        """

    def export(self, ckpt_path: str | None = None) -> None:
        """Export a checkpoint's classifier; ``StreamCLI.export`` does.

        Args:
            ckpt_path: A checkpoint file or a run directory.
        """


class StreamCLI(LightningCLI):
    """``fit`` runs a stream; the other subcommands work on a checkpoint of a run."""

    def __init__(self, args: list[str], own_process: bool) -> None:
        self.own_process, self.exit_code = own_process, 0
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
            # No abbreviations: a later version may add an option of that name.
            parser_kwargs={"prog": "lightning-vision", "allow_abbrev": False},
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            args=args,
        )

    def setup_parser(self, add_subcommands: bool, *options: dict[str, Any]) -> None:
        """Take the parsers that a former command line kept, or build new ones."""
        if (kept := take_parsers(self.words)) is None:
            super().setup_parser(add_subcommands, *options)
        else:
            vars(self).update(kept)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # a static method of the base, called on self
        """The subcommand, or all; and the arguments of Lightning's methods that are not options.

        Building a parser takes a tenth of a second.
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
        """As in LightningCLI, but the method ``data`` cannot have a group of options of its own name."""
        if subcommand != "data":
            prepared = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
            if subcommand == "predict":
                self._subcommand_method_arguments[subcommand].append(_add_images(prepared))
            if subcommand in OPTIONS:
                self._subcommand_method_arguments[subcommand] += prepared.add_class_arguments(OPTIONS[subcommand])
            return prepared
        parser = self.init_parser(**kwargs)
        self._add_arguments(parser)
        parser.add_argument(
            "--output", type=str | None, default=None,
            help="The HTML page that is written. Default: data-<datamodule>.html in trainer.default_root_dir.",
        )  # fmt: skip
        parser.add_argument(
            "--ckpt_path", type=str | None, default=None,
            help="A checkpoint file or a run directory, whose features show which labels are doubtful.",
        )  # fmt: skip
        self._subcommand_method_arguments[subcommand] = ["output", "ckpt_path"]
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of this program, and the links from the datamodule to the model."""
        self.subparser = cast(StreamArgumentParser, parser)  # of the subcommand: no other is built
        add_run_arguments(parser)
        parser.add_argument(
            "--trust_run", action=ActionYesNo, nargs="?", default=False,
            help="Trust the source of the run directory: its config.yaml may name any class, whose code is then run, and its files "
            "may be links to other places.",
        )  # fmt: skip
        parser.add_class_arguments(EnergyOptions, "energy")
        parser.add_class_arguments(WandbOptions, "wandb")
        parser.link_arguments("data.class_names", "model.class_names", apply_on="instantiate")
        parser.link_arguments("data.image_size", "model.image_size", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; errors suggest similar options and classes.

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
        """Do nothing: Lightning would silently replace options of the command line by those of a checkpoint."""

    def before_instantiate_classes(self) -> None:
        """Refuse what cannot work before anything is loaded; several processes need a process of their own."""
        config = self.config[str(self.subcommand)]
        check_trainer_options(config.trainer.as_dict())
        check_options(config.trainer.as_dict() if self.subcommand == "fit" else {})
        check_run_options(
            config.energy.country, config.keep_checkpoints, config.stop_after, config.budget, config.tune_on
        )

    def instantiate_classes(self) -> None:
        """Model and data; Trainers are built for each experience."""
        config = self.config[str(self.subcommand)]
        self.trainer = self._probe()
        if self.trainer.world_size > 1 and starts_processes(self.trainer) and not self.own_process:
            raise NeedsOwnProcess
        if self.subcommand == "fit":
            self.launch = self._check_directory(config)
            self.config_dump = deepcopy(self.launch.request.config)  # or Lightning dumps it again, for hyper-parameters
        if self.subcommand == "data" and not config.ckpt_path:  # without the model, whose weights it would fetch
            parser = StreamArgumentParser()
            parser.add_subclass_arguments(StreamDataModule, "data")
            asked = cast(Any, Namespace)(data=config.data.clone())
            self.datamodule, self.model = parser.instantiate_classes(asked).data, None
            self.config_init = {"data": config}
            return
        if not self._needs_images(config):
            use_no_images(self.subparser, config.data, run_of(config.ckpt_path))
        self.config_init = self.parser.instantiate_classes(self.config)
        built = self.config_init[str(self.subcommand)]
        self.datamodule, self.model = built.data, built.model

    def _needs_images(self, config: Namespace) -> bool:
        """Whether the run's data is read: images that a user gives are predicted without it."""
        given = self.subcommand == "predict" and bool(config.images) and bool(config.ckpt_path)
        return not (given and run_of(config.ckpt_path).results.is_file())

    def _probe(self) -> Trainer:
        """A Trainer with these options, from which the number of processes and the device are read.

        Raises:
            ConfigError: Lightning refuses an option.
        """
        self.trainer_arguments = TrainerArguments(self.config[str(self.subcommand)].trainer)
        return probe_trainer(self._build_trainer_options(), StreamTrainer)

    def _build_trainer_options(self) -> dict[str, Any]:
        return self.trainer_arguments.build()

    # ---- fit -------------------------------------------------------------------------------------------------------

    def _check_directory(self, config: Namespace) -> RunLaunch:
        """Check the run directory; keep former defaults with which the run was started."""
        launch = RunLaunch(self._request(config))
        kept = launch.check()
        for each in kept:
            launch.progress.say(f"Keeping {each}.")
            keep(config, each)
        if not kept:
            return launch
        self.trainer_arguments = TrainerArguments(config.trainer)
        return RunLaunch(self._request(config))

    def _request(self, config: Namespace) -> RunRequest:
        return run_request(config, self.subparser, self.words)

    def fit(self, model: ContinualClassifier, datamodule: StreamDataModule, ckpt_path: str | None = None) -> None:
        """Run the stream, or resume the run."""
        self.exit_code = fit(self.launch, model, datamodule, self._build_trainer_options, self.trainer)

    # ---- a checkpoint ----------------------------------------------------------------------------------------------

    def validate(self, model: ContinualClassifier, datamodule: StreamDataModule, ckpt_path: str | None = None) -> None:
        """Loss and accuracy on the validation parts up to the checkpoint's experience."""
        from lightning_vision.run.checkpoint_tasks import validate

        validate(self.load(ckpt_path))

    def test(
        self,
        model: ContinualClassifier,
        datamodule: StreamDataModule,
        ckpt_path: str | None = None,
        **options: Any,
    ) -> None:
        """Evaluate on the test set and rewrite the final metrics; then assess trust if options ask for it."""
        from lightning_vision.run.checkpoint_tasks import test

        asked = TrustOptions(**options)
        asked.check()
        checkpoint = self.load(ckpt_path)
        directory = checkpoint.directory
        writes = is_first() and directory.results.is_file()
        with directory.held(shlex.join(["lightning-vision", *self.words])) if writes else nullcontext():
            tested = test(checkpoint)
        for line in tested.lines:
            print_line(line)
        if asked.asked:
            from lightning_vision.trust.command import assess
            from lightning_vision.trust.verdict import print_verdict

            if (assessed := assess(checkpoint, asked)) is not None:
                print_verdict(assessed, Console(soft_wrap=True, highlight=False))

    def explain(
        self,
        model: ContinualClassifier,
        datamodule: StreamDataModule,
        ckpt_path: str | None = None,
        **options: Any,
    ) -> None:
        """Show what the classifier looks at when it is wrong."""
        from lightning_vision.explanation.command import explain

        for line in explain(self.load(ckpt_path, evaluates=False), ExplainOptions(**options)).lines:
            print_line(line)

    def export(
        self,
        model: ContinualClassifier,
        datamodule: StreamDataModule,
        ckpt_path: str | None = None,
        **options: Any,
    ) -> None:
        """Export the classifier and check it against the original."""
        from lightning_vision.exporting.command import export

        exported = export(self.load(ckpt_path, evaluates=False), ExportOptions(**options))
        for line in [] if exported is None else exported.lines:
            print_line(line)

    def predict(
        self, model: ContinualClassifier, datamodule: StreamDataModule, ckpt_path: str | None = None, **options: Any
    ) -> None:
        """Write predictions.csv, or the predictions of given images."""
        images = options.pop("images")
        asked = PredictOptions(**options)
        asked.check(images)
        if images:
            from lightning_vision.trust.predict_command import predict_given

            return predict_given(self.load(ckpt_path), images, asked)
        from lightning_vision.run.checkpoint_tasks import predict

        return predict(self.load(ckpt_path))

    def load(self, ckpt_path: str | None, evaluates: bool = True) -> LoadedCheckpoint:
        """Model and data with a checkpoint's weights; see ``load_checkpoint``.

        Raises:
            ConfigError: No checkpoint is given.
        """
        if not ckpt_path:
            raise ConfigError(f"{self.subcommand} needs --ckpt_path: a checkpoint file or a run directory.")
        return load_checkpoint(
            self.model,
            self.datamodule,
            self._build_trainer_options,
            ckpt_path,
            seed=self.config[str(self.subcommand)].seed_everything,
            evaluates=evaluates,
        )

    def data(
        self,
        model: ContinualClassifier | None,
        datamodule: StreamDataModule,
        output: str | None = None,
        ckpt_path: str | None = None,
    ) -> None:
        """Describe the data in the terminal and on a page; with a checkpoint, its doubtful labels too."""
        from lightning_vision.data_report.description import describe_data
        from lightning_vision.data_report.terminal import print_labels, print_report

        config = self.config.data
        name = f"data-{type(datamodule).__name__}.html"
        path = Path(output) if output else Path(config.trainer.default_root_dir) / name
        checkpoint = self.load(ckpt_path, evaluates=False) if ckpt_path else None
        described = describe_data(datamodule, path, int(config.seed_everything), checkpoint)
        print_report(described.report, Console(soft_wrap=True, highlight=False))
        if described.labels is not None:
            print_labels(described.labels, list(datamodule.class_names), datamodule.samples["path"].tolist())
            print_line(f"The doubtful labels: {described.table}")
        print_line(f"The page with images: {path}")


def _add_images(parser: LightningArgumentParser) -> str:
    """Add the words of ``predict`` that are no options; returns their name."""
    parser.add_argument(
        "images", nargs="*", type=str,
        help="Images, videos, folders, archives, patterns, and text files that list them. Default: the test data.",
    )  # fmt: skip
    cast(StreamArgumentParser, parser).takes_images = True
    return "images"


@contextmanager
def without_own_words() -> Iterator[None]:
    """LightningCLI warns if both it and sys.argv have arguments."""
    argv, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = argv
