"""From a command line to a subcommand, and from its end to an exit code."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path

import yaml

from lightning_vision.errors import CheckpointError, ConfigError, UserError
from lightning_vision.learning.stop_signals import StopRequestedError
from lightning_vision.program.fit_config import without_own_words
from lightning_vision.program.foreign_config import take_foreign
from lightning_vision.program.library_errors import in_words, quieten
from lightning_vision.program.options import FROM_CHECKPOINT
from lightning_vision.program.plugins import load_plugins
from lightning_vision.program.stream_cli import StreamCLI, is_given, say
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.same_options import with_earlier_defaults
from lightning_vision.run.rank_processes import end_with_parent
from lightning_vision.storage.links_out import refuse_links_out


def prepare_process(own_process: bool) -> None:
    """What is done once before anything is read: quieten libraries, load plugins.

    Args:
        own_process: The command line is this process's own.
    """
    quieten()
    if own_process:
        end_with_parent()
    for plugin in load_plugins():
        if plugin.found is None:
            print(
                f"The plugin {plugin.name} of {plugin.package} {plugin.version} was skipped: {plugin.problem}",
                file=sys.stderr,
            )


def run(args: list[str], own_process: bool) -> int:
    """Parse and run a subcommand.

    Args:
        args: The command line.
        own_process: It is this process's own command line.

    Returns:
        The exit code.

    Raises:
        UserError: Something the user can mend.
        NeedsOwnProcess: See there.
    """
    prepare_process(own_process)
    try:
        with nullcontext() if own_process else without_own_words(), _with_run_config(args) as words:
            StreamCLI(words, own_process)
    except StopRequestedError as stop:
        say(f"Stopped by {stop}. What was learned is kept; the same command with --ckpt_path last goes on.")
        return 128 + stop.signum
    except UserError:
        raise
    except Exception as error:
        mended = in_words(error)
        if mended is None:
            raise
        raise mended from error
    return 0


@contextmanager
def _with_run_config(args: list[str]) -> Iterator[list[str]]:
    """What is done with a checkpoint takes the configuration of its run, where none is given: what of it can be trusted.

    Raises:
        CheckpointError: There is nothing where it is said to be.
        ConfigError: The run's configuration asks for more than is taken of one that the user did not name, or its files are
            links to elsewhere.
    """
    words = [word for arg in args for word in (arg.split("=", 1) if arg.startswith("--") else [arg])]
    given = [value for key, value in pairwise(words) if key == "--ckpt_path"]
    if args[0] not in FROM_CHECKPOINT or {"--help", "-h"} & set(words) or not given:
        yield args
        return
    path = Path(given[-1])
    if not path.exists():
        raise CheckpointError(f"Expected a checkpoint or the directory of a run, found nothing at {path}.")
    directory = RunDirectory(path if path.is_dir() else path.parent.parent)
    trusted = is_given(words, "--trust_run")
    if not trusted and (directory.exists() or directory.checkpoints.exists()):
        refuse_links_out(directory.path)
    if {"--config", "-c"} & set(words) or not directory.config.is_file():
        yield args
        return
    written = directory.read_config()
    taken = with_earlier_defaults(written if trusted else take_foreign(written, directory.config, named=words))
    if trusted and taken == written:
        yield [args[0], "--config", str(directory.config), *args[1:]]
        return
    with tempfile.TemporaryDirectory(prefix="lightning_vision-") as folder:
        file = Path(folder) / "config.yaml"  # what was looked at, not what another reader might make of the run's own
        file.write_text(yaml.safe_dump(taken, sort_keys=False), encoding="utf-8")
        try:
            yield [args[0], "--config", str(file), *args[1:]]
        except ConfigError as error:
            raise type(error)(str(error).replace(str(file), str(directory.config))) from error
