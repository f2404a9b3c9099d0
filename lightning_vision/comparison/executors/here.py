"""Jobs in this process, one after another."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import BinaryIO

from lightning_vision.comparison.executors.executor import Done, Executor, Job, WaitingJobs, on_sigterm
from lightning_vision.comparison.executors.job_log import JobLog

STOPPED = tuple(128 + signum for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1))
"""Exit codes of a run that handled a signal for this process."""


class Here(Executor):
    """Runs jobs in this process, one after another, so that imports are done once.

    Args:
        main: ``lightning_vision.cli.main``, from a command line to an exit code. It is an argument because this module must
            not import it.
    """

    def __init__(self, main: Callable[[list[str]], int]) -> None:
        self._main = main

    def run(self, jobs: Sequence[Job]) -> Generator[Done, None, None]:
        """See ``Executor.run``."""
        waiting = WaitingJobs(jobs)
        with on_sigterm():
            while ready := waiting.take(1):
                job = ready[0]
                log = JobLog(job)
                code = 1
                try:
                    with _printed_into(log.file), _own_surroundings():
                        code = self._main(list(job.words))
                finally:
                    done = log.close(code)
                if code == STOPPED[0]:
                    raise KeyboardInterrupt
                if code in STOPPED:
                    raise SystemExit(code)
                waiting.note(done)
                yield done


@contextmanager
def _own_surroundings() -> Iterator[None]:
    """Restore what a run changes in the process: environment variables and filters of warnings."""
    environment = dict(os.environ)
    with warnings.catch_warnings():
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(environment)


@contextmanager
def _printed_into(file: BinaryIO) -> Iterator[None]:
    """Redirect all output to a file: of Python, of libraries in C and of child processes."""
    _flush()
    with ExitStack() as stack:
        for descriptor, redirect in ((1, redirect_stdout), (2, redirect_stderr)):
            kept = os.dup(descriptor)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, descriptor)
            os.dup2(file.fileno(), descriptor)
            # A stream on the descriptor, not on the file: a logger that is made now keeps it, and writes to the terminal
            # when the descriptor leads there again.
            stream = open(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            stack.enter_context(redirect(stream))
        stack.callback(_flush)
        yield


def _flush() -> None:
    """Flush the standard streams of Python and C."""
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)
