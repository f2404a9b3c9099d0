"""Reads the configuration of a fit without running it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, cast

from jsonargparse import Namespace

from lightning_vision.program.plain_config import plain
from lightning_vision.program.stream_cli import StreamCLI, without_own_words
from lightning_vision.storage.plain_yaml import load_yaml


@dataclass(frozen=True)
class ReadConfig:
    """The options of a ``fit`` that was not run."""

    config: dict[str, Any]
    """All of them, as plain values."""
    namespace: Namespace
    parser: Any

    @property
    def strategy_class(self) -> type | None:
        """The class of the learning strategy; None: the default."""
        return _class_of(self.namespace.model.strategy)

    @property
    def data_class(self) -> type | None:
        """The class of the datamodule."""
        return _class_of(self.namespace.data)

    def with_values(self, values: dict[str, Any]) -> ReadConfig:
        """The same options with other values of some. Nothing checks them: they must be of the kind that they replace."""
        namespace, config = self.namespace.clone(), deepcopy(self.config)
        for key, value in values.items():
            namespace[key] = value
            *parts, last = key.split(".")
            place = config
            for part in parts:
                place = place[part]
            place[last] = value
        return replace(self, namespace=namespace, config=config)

    def with_changes(self, changes: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """The options with some changed: as plain values, and as YAML for ``fit --config``."""
        config = self.namespace.clone()
        for key, value in changes.items():
            config[key] = value
        text = str(self.parser.dump(config, skip_none=False, skip_validation=True))
        return cast(dict[str, Any], load_yaml(text)), text


def _class_of(component: Any) -> type | None:
    if component is None:
        return None
    module, _, name = str(component.class_path).rpartition(".")
    return cast(type, getattr(import_module(module), name))


class ReadCLI(StreamCLI):
    """Reads the options of ``fit`` and does nothing else."""

    def read(self, args: list[str]) -> None:
        """Read another command line with the same parser."""
        self.words = args
        self.parse_arguments(self.parser, args)
        self._set_seed()
        self.before_instantiate_classes()

    def instantiate_classes(self) -> None:
        """Build nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Run nothing."""


class FitReader:
    """Reads the options of many ``fit`` with one parser, which takes as long to build as to use."""

    def __init__(self) -> None:
        self._cli: ReadCLI | None = None

    def read(self, words: list[str]) -> ReadConfig:
        """Read the options of a ``fit`` without building or running anything.

        Args:
            words: The command line after ``fit``.

        Raises:
            ConfigError: One cannot be used.
        """
        args = ["fit", *words]
        with without_own_words():
            if self._cli is None:
                self._cli = ReadCLI(args, own_process=False)
            else:
                self._cli.read(args)
        config = self._cli.config.fit
        config.ckpt_path, config.overwrite = None, False
        return ReadConfig(plain(self._cli.parser, self._cli.config, "fit"), config, self._cli.subparser)


def read_fit_config(words: list[str]) -> ReadConfig:
    """Read the options of one ``fit``; see ``FitReader``."""
    return FitReader().read(words)
