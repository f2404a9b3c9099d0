"""A ``fit`` with options from Python: read as on the command line, with objects for what YAML cannot hold."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning import seed_everything
from rich.console import Console

from lightning_vision.class_path import arguments_of
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import ConfigError
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.trainer_probe import starts_processes
from lightning_vision.program.argument_parser import StreamArgumentParser
from lightning_vision.program.fit_command import run_name
from lightning_vision.program.stream_cli import StreamCLI
from lightning_vision.program.written import is_written, written
from lightning_vision.results.unwritten import config_text, unwritten
from lightning_vision.run.run_request import RunRequest
from lightning_vision.storage.atomic_write import write_text_atomically
from lightning_vision.storage.plain_yaml import load_yaml
from lightning_vision.tracking.progress import StreamProgress

STAND_IN = {"class_path": "datamodules.Digits"}
"""The placeholder for a datamodule that is given as an object."""


@dataclass
class PythonOptions:
    """The options of a ``fit``, separated by whether YAML can hold them.

    Args:
        plain: Options that the parser reads.
        objects: The others, by dotted option: ``data`` (or a partial that builds it), ``model.optimizer``,
            ``trainer.callbacks``.
        marked: The same as in config.yaml, with reasons in place of parts that cannot be written.
    """

    plain: dict[str, Any] = field(default_factory=dict)
    objects: dict[str, Any] = field(default_factory=dict)
    marked: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> PythonOptions:
        """Separate the options of ``fit``.

        Args:
            options: By section, as in config.yaml; values may be objects.

        Raises:
            ConfigError: Plain values and objects are mixed in one option.
        """
        found = cls()
        for section, value in options.items():
            if section not in ("model", "trainer"):
                found._take(section, value, found.plain)
                continue
            found.plain[section] = {}
            for key, each in value.items():
                found._take(f"{section}.{key}", each, found.plain[section])
        if "data" in found.objects:
            found.plain["data"] = STAND_IN
        return found

    def _take(self, key: str, value: Any, plain: dict[str, Any]) -> None:
        text = written(value)
        if is_written(text):
            plain[key.rpartition(".")[2]] = text
            return
        parts = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(part, Mapping | str) for part in parts):
            reasons = "; ".join(f"{name}: {why}" for name, why in unwritten({key: text}).items())
            raise ConfigError(f"{key}: expected objects, or plain values throughout, found both ({reasons}).")
        self.objects[key], self.marked[key] = value, text

    def mark(self, config: dict[str, Any]) -> dict[str, Any]:
        """A parsed configuration, with the objects as ``config.yaml`` shows them."""
        config = deepcopy(config)
        for key, value in self.marked.items():
            section, _, name = key.rpartition(".")
            (config[section] if section else config)[name] = value
        return config

    def with_object(self, key: str, value: Any) -> PythonOptions:
        """The same with one more object."""
        return replace(self, objects=self.objects | {key: value}, marked=self.marked | {key: written(value)})

    def words(self, folder: Path) -> list[str]:
        """Write the plain options to a file in a folder; return the command line that reads it."""
        return _words(self.plain, folder)

    def words_from(self, config: Path, folder: Path) -> list[str]:
        """The command line that reads a whole configuration in which the objects are marked."""
        values = load_yaml(config.read_text(encoding="utf-8"))
        for key in self.marked:
            section, _, name = key.rpartition(".")
            del (values[section] if section else values)[name]
        return _words({**values, "data": values.get("data", self.plain["data"])}, folder)


class PythonFit(StreamCLI):
    """Parses the command line of a ``fit``, inserts copies of the objects and runs it.

    Args:
        words: The command line.
        options: The objects.
        classifier: Replaces one that is built from ``model``; the run works on a copy.
        quiet: Print no progress and no summary.
        resume_if_there: Resume the run if its directory holds one.

    Raises:
        UserError: Something that the user can fix.
    """

    def __init__(
        self,
        words: list[str],
        options: PythonOptions,
        classifier: ContinualClassifier | None = None,
        *,
        quiet: bool = False,
        resume_if_there: bool = False,
    ) -> None:
        self.options, self.classifier = options, classifier
        self.quiet, self.resume_if_there = quiet, resume_if_there
        super().__init__(words, own_process=False)

    def instantiate_classes(self) -> None:
        """Check the run directory, then build model and data from the same random state as on the command line."""
        config = self.config.fit
        self.trainer = self._probe()
        request = self._request(config)
        if self.trainer.world_size > 1 and starts_processes(self.trainer):
            self._refuse_processes(request)
        self.launch = self._check_directory(config)
        seed_everything(request.seed, workers=True, verbose=False)
        self._build(config)
        if self.quiet:
            self.launch.progress = StreamProgress(Console(quiet=True), enabled=False)
        self.config_init = {"fit": {}}

    def _build(self, config: Any) -> None:
        """Model and data."""
        for key, value in self.options.objects.items():
            if not key.startswith("trainer."):
                config[key] = deepcopy(build_again(value))() if key == "data" else deepcopy(value)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"\s*Unable to serialize instance")
            if self.classifier is None:
                built = self.subparser.instantiate_classes(config)
                self.model, self.datamodule = built.model, built.data
                return
            parser = StreamArgumentParser()
            parser.add_subclass_arguments(StreamDataModule, "data")
            self.datamodule = parser.instantiate_classes(Namespace(data=config.data)).data  # type: ignore[no-untyped-call]
        self.model = deepcopy(self.classifier)
        if self.model.image_size != self.datamodule.image_size:
            raise ConfigError(
                f"The classifier was built for images of {self.model.image_size} pixels, data.image_size is "
                f"{self.datamodule.image_size}. Give both the same image_size."
            )
        self.datamodule.use_class_names(self.model.class_names)

    def _request(self, config: Any) -> RunRequest:
        request = super()._request(config)
        marked = self.options.mark(request.config)
        text = config_text(self.options.mark(load_yaml(request.config_text)))
        name = request.name if config.run_name else run_name(marked)
        command = f"lightning_vision.fit(..., name={name!r})"
        request = replace(request, name=name, config=marked, config_text=text, command=command)
        resume = request.resume or (self.resume_if_there and request.directory.exists())
        return replace(request, resume=resume)

    def _build_trainer_options(self) -> dict[str, Any]:
        """Keyword arguments of a Trainer, with new copies of the callbacks and the user's own loggers."""
        options = super()._build_trainer_options()
        for key, value in self.options.objects.items():
            section, _, name = key.rpartition(".")
            if section == "trainer":
                options[name] = value if name == "logger" else deepcopy(value)
        return options

    def _refuse_processes(self, request: RunRequest) -> None:
        """Refuse several processes, which need the command line.

        Raises:
            ConfigError: Always; the message has the command.
        """
        asked = f"trainer.devices and trainer.num_nodes ask for {self.trainer.world_size} processes; "
        missing = unwritten(request.config)
        if missing:
            raise ConfigError(
                f"{asked}they are started by a configuration, which cannot hold {', '.join(missing)}. Move these parts to a "
                "module (see run.config), or use trainer={'devices': 1}."
            )
        file = request.root / f"{request.name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(file, request.config_text)
        raise ConfigError(
            f"{asked}they are started from the command line: lightning-vision fit --config {file}\n"
            "Open the run with lightning_vision.open_run afterwards. Here use trainer={'devices': 1}."
        )


def build_again(data: Any, **changes: Any) -> partial[Any]:
    """A partial that builds data again from its arguments; a partial is returned with the changes.

    Args:
        data: The data.
        changes: Changed arguments.
    """
    if isinstance(data, partial):
        return data
    made_by: Callable[..., Any] = type(data)
    return partial(made_by, **(arguments_of(data) | changes))


def _words(options: dict[str, Any], folder: Path) -> list[str]:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(options, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return ["fit", "--config", str(path)]


@contextlib.contextmanager
def config_folder() -> Iterator[Path]:
    """A temporary folder for a configuration; errors do not name it."""
    with tempfile.TemporaryDirectory(prefix="lightning_vision-") as folder:
        yield Path(folder)
