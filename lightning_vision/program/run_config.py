"""The configuration of a run, for the tasks of its checkpoints."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import yaml

from lightning_vision.errors import CheckpointError, ConfigError
from lightning_vision.learning.hub_run import with_local_run
from lightning_vision.program.absent_images import run_of
from lightning_vision.program.foreign_config import take_foreign
from lightning_vision.program.options import FROM_CHECKPOINT
from lightning_vision.results.same_options import with_earlier_defaults
from lightning_vision.results.unwritten import without_unwritten
from lightning_vision.storage.hub_address import is_hub_address
from lightning_vision.storage.links_out import refuse_links_out
from lightning_vision.terminal.messages import print_notice


@contextmanager
def with_run_config(args: list[str]) -> Iterator[list[str]]:
    """Use the configuration of the checkpoint's run if none is given: the part of it that needs no trust.

    Raises:
        CheckpointError: The path does not exist, or is a folder and no run directory.
        ConfigError: No checkpoint is given; the run's configuration contains something that requires trust, or its files are links to other places.
    """
    words = [word for arg in args for word in (arg.split("=", 1) if arg.startswith("--") else [arg])]
    given = [value for key, value in pairwise(words) if key == "--ckpt_path"]
    if args[0] in FROM_CHECKPOINT and args[0] != "data" and not given and not _has_options_of_data(words):
        raise ConfigError(f"{args[0]} needs --ckpt_path: a checkpoint file or a run directory.")
    if args[0] not in FROM_CHECKPOINT or {"--help", "-h"} & set(words) or not given:
        yield args
        return
    if is_hub_address(given[-1]):
        path = with_local_run(given[-1])
        args = [arg.replace(given[-1], str(path)) for arg in args]
    else:
        path = Path(given[-1])
    if not path.exists():
        raise CheckpointError(f"Expected a checkpoint or the directory of a run, found nothing at {path}.")
    directory = run_of(path)
    trusted = is_given(words, "--trust_run")
    if not trusted and (directory.exists() or directory.checkpoints.exists()):
        refuse_links_out(directory.path)
    if path.is_dir() and not directory.config.is_file() and not _has_options_of_data(words):
        raise CheckpointError(
            f"Expected the directory of a run, found no config.yaml in {path}. Give a run directory, or the file with the run's options: "
            "--config FILE."
        )
    if {"--config", "-c"} & set(words) or not directory.config.is_file():
        yield args
        return
    found = directory.read_config(tell=print_notice)
    written = without_unwritten(found)
    taken = with_earlier_defaults(written if trusted else take_foreign(written, directory.config, named=words))
    if trusted and taken == found:
        yield [args[0], "--config", str(directory.config), *args[1:]]
        return
    with tempfile.TemporaryDirectory(prefix="lightning_vision-") as folder:
        file = Path(folder) / "config.yaml"  # the checked copy, which another parser cannot read differently
        file.write_text(yaml.safe_dump(taken, sort_keys=False), encoding="utf-8")
        try:
            yield [args[0], "--config", str(file), *args[1:]]
        except ConfigError as error:
            raise type(error)(str(error).replace(str(file), str(directory.config))) from error


def _has_options_of_data(words: list[str]) -> bool:
    """Whether words name the data or a configuration, or ask for help."""
    return any(
        word.startswith(("--config", "-c", "-h", "--data", "--print_config")) or "help" in word for word in words
    )


def is_given(words: list[str], option: str) -> bool:
    """Whether a flag is on, in any of its spellings; the last one counts."""
    values = [after for word, after in pairwise([*words, "--"]) if word == option]
    return bool(values) and values[-1].lower() not in ("false", "no")
