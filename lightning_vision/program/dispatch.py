"""Runs the subcommand of a command line and returns its exit code."""

from __future__ import annotations

from contextlib import nullcontext

from lightning_vision.learning.stop_signals import StopRequestedError
from lightning_vision.program.kept_parsers import keep_parsers
from lightning_vision.program.library_errors import explained, quieten
from lightning_vision.program.plugins import load_plugins
from lightning_vision.program.process_memory import keep_freed_memory
from lightning_vision.program.run_config import with_run_config
from lightning_vision.program.stream_cli import StreamCLI, without_own_words
from lightning_vision.run.rank_processes import end_with_parent
from lightning_vision.terminal.messages import print_line, print_notice


def prepare_process(own_process: bool) -> None:
    """Silence libraries, set how memory is kept and load plugins, once and before anything is read.

    Args:
        own_process: The command line is that of this process.
    """
    quieten()
    keep_freed_memory()
    if own_process:
        end_with_parent()
    for plugin in load_plugins():
        if plugin.found is None:
            print_notice(f"The plugin {plugin.name} of {plugin.package} {plugin.version} was skipped: {plugin.problem}")


def run(args: list[str], own_process: bool) -> int:
    """Parse and run a subcommand.

    Args:
        args: The command line.
        own_process: The command line is that of this process.

    Returns:
        The exit code.

    Raises:
        UserError: Something that the user can fix.
        NeedsOwnProcess: The run needs a process of its own.
    """
    prepare_process(own_process)
    try:
        with explained(), nullcontext() if own_process else without_own_words(), with_run_config(args) as words:
            cli = StreamCLI(words, own_process)
            keep_parsers(cli)
            return cli.exit_code
    except StopRequestedError as stop:
        print_line(f"Stopped by {stop}. Progress is saved; the same command with --ckpt_path last resumes the run.")
        return 128 + stop.signum
