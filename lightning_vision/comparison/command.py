"""The subcommand ``compare``. What it imports first takes no second, so that processes for cells start at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from lightning_vision.comparison.command_line import make_parser
from lightning_vision.comparison.executors.executor import Executor
from lightning_vision.comparison.executors.here import Here
from lightning_vision.comparison.executors.local import Local
from lightning_vision.comparison.executors.ray_cluster import Ray
from lightning_vision.comparison.executors.slurm import Slurm
from lightning_vision.comparison.options import CompareOptions, command_of, read_options
from lightning_vision.errors import ConfigError


def compare(words: Sequence[str], main: Callable[[list[str]], int], typed: Sequence[str]) -> int:
    """Run a comparison, or resume it.

    Args:
        words: The command line after ``compare``.
        main: ``lightning_vision.cli.main``, for cells that run in this process.
        typed: The command line as the user typed it, for the record.

    Returns:
        The exit code: 0 all cells are done, 1 some failed, 3 all are done and some have no test image.

    Raises:
        UserError: Something that the user can fix; nothing was run.
    """
    if {"-h", "--help"} & set(words):
        make_parser().print_help()
        return 0
    options = read_options(words)
    if not options.configs:
        raise ConfigError(
            "compare needs --config FILE, as fit does, with the data and the network that all cells share."
        )
    executor = make_executor(options, main)
    if not options.dry_run:
        executor.prepare()
    # Imported only now: its imports take seconds, in which the executor's processes import the same.
    from lightning_vision.comparison.comparison_run import run_comparison
    from lightning_vision.program.dispatch import prepare_process

    prepare_process(own_process=False)
    return run_comparison(options, executor, command_of(typed), Console(soft_wrap=True, highlight=False))


def make_executor(options: CompareOptions, main: Callable[[list[str]], int]) -> Executor:
    """The executor of the options.

    Args:
        options: The options of the comparison.
        main: Runs a cell in this process: takes its command line and returns its exit code.

    Raises:
        ConfigError: It is not installed, does not answer, or has no such option.
    """
    more: dict[str, Any] = dict(options.executor_options)
    try:
        if options.executor == "local":
            return Local(options.workers, **more)
        if options.executor == "slurm":
            cluster = more.pop("cluster", "slurm")
            return Slurm(options.output / "slurm", cluster=cluster, workers=options.workers, parameters=more)
        if options.executor == "ray":
            return Ray(options.address, **more)
    except TypeError as error:
        raise ConfigError(f"--executor_options: {error}") from error
    if more:
        raise ConfigError(f"--executor_options: the executor here has none, found {', '.join(more)}.")
    return Here(main)
