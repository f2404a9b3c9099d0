"""Reads the configuration of a fit without running it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, cast

import yaml
from jsonargparse import Namespace

from lightning_vision.program.plain_config import plain
from lightning_vision.program.stream_cli import StreamCLI, without_own_words


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
        text = str(self.parser.dump(config, skip_none=False))
        return cast(dict[str, Any], yaml.safe_load(text)), text


def _class_of(component: Any) -> type | None:
    if component is None:
        return None
    module, _, name = str(component.class_path).rpartition(".")
    return cast(type, getattr(import_module(module), name))


class ReadCLI(StreamCLI):
    """Reads the options of ``fit`` and does nothing else."""

    def instantiate_classes(self) -> None:
        """Build nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Run nothing."""


def read_fit_config(words: list[str]) -> ReadConfig:
    """Read the options of a ``fit`` without building or running anything.

    Args:
        words: The command line after ``fit``.

    Raises:
        ConfigError: One cannot be used.
    """
    with without_own_words():
        cli = ReadCLI(["fit", *words], own_process=False)
    config = cli.config.fit
    config.ckpt_path, config.overwrite = None, False
    return ReadConfig(plain(cli.parser, cli.config, "fit"), config, cli.subparser)
