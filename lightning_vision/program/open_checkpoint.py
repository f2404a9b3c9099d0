"""Opens a run directory or a checkpoint without a command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from lightning_vision.errors import CheckpointError, ConfigError
from lightning_vision.learning.loaded_checkpoint import LoadedCheckpoint
from lightning_vision.program.absent_images import run_of
from lightning_vision.program.kept_parsers import keep_parsers
from lightning_vision.program.library_errors import explained
from lightning_vision.program.plugins import load_plugins
from lightning_vision.program.run_config import with_run_config
from lightning_vision.program.stream_cli import NeedsOwnProcess, StreamCLI, without_own_words
from lightning_vision.run.process_state import process_state_restored

ONE_PROCESS = {"trainer.devices": 1, "trainer.num_nodes": 1}


class _CheckpointCLI(StreamCLI):
    """Builds model and data of a checkpoint, and loads the weights."""

    def __init__(self, args: list[str], evaluates: bool, images: bool) -> None:
        self.evaluates, self.images = evaluates, images
        super().__init__(args, own_process=False)

    def _needs_images(self, config: Namespace) -> bool:
        """As the caller says."""
        return self.images

    def _run_subcommand(self, subcommand: str) -> None:
        """Load the weights."""
        self.loaded = self.load(self.config[subcommand].ckpt_path, evaluates=self.evaluates)


def open_checkpoint(
    path: str | Path,
    overrides: Mapping[str, Any] | None = None,
    trust_run: bool = False,
    evaluates: bool = True,
    images: bool = True,
) -> LoadedCheckpoint:
    """Build the classifier and the data of a run from its config.yaml, and load a checkpoint's weights.

    The state of the process is restored afterwards: random numbers, environment, filters. One process and one device are
    used by default.

    Args:
        path: A run directory (its newest finished experience is used), or a checkpoint's file in one.
        overrides: Values of other options, by their names on the command line without dashes: ``{"data.root": "elsewhere"}``;
            ``config`` is a file that replaces the run's config.yaml.
        trust_run: Trust the source of the run directory: its config.yaml may name any class, whose code is then run, and
            its files may be links to other places.
        evaluates: Images are evaluated as in the run, including its recipes.
        images: False: nothing of the run's data is read, which is sufficient to predict other images.

    Raises:
        CheckpointError: There is no checkpoint or no config.yaml, or they do not fit each other.
        ConfigError: The run's configuration contains something that requires trust, or an override cannot be used.
        DataError: The images cannot be read.
    """
    options = {**ONE_PROCESS, **(overrides or {})}
    place, directory = Path(path), run_of(path)
    if place.exists() and not directory.config.is_file() and "config" not in options:
        raise CheckpointError(
            f"Expected {directory.config}, with the options of the classifier; found none. Give a run directory, or a file "
            'with its options: overrides={"config": FILE}.'
        )
    options |= {"trust_run": trust_run, "ckpt_path": path}
    words = [f"--{name}={_word(value)}" for name, value in options.items()]
    load_plugins()
    with process_state_restored(), without_own_words(), explained(), with_run_config(["validate", *words]) as args:
        try:
            cli = _CheckpointCLI(args, evaluates, images)
            keep_parsers(cli)
            return cli.loaded
        except NeedsOwnProcess as error:
            raise ConfigError(
                "A checkpoint can be opened in one process only: give trainer.devices=1 and trainer.num_nodes=1."
            ) from error


def _word(value: Any) -> str:
    """A value in the form of the command line."""
    return str(value) if isinstance(value, str | Path) else json.dumps(value)
