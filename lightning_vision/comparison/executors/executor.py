"""The base of executors, which run jobs and return their results."""

from __future__ import annotations

import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

GRACE_SECONDS = 60.0
"""Time for a stopped job to write its checkpoint before it is killed."""


@dataclass(frozen=True)
class Job:
    """One command of the program.

    Args:
        name: The name of the job.
        words: The command line after the program's name, such as ``("fit", "--config", "cells/x.yaml")``.
        log: The file to which its output is appended.
    """

    name: str
    words: tuple[str, ...]
    log: Path


@dataclass(frozen=True)
class Done:
    """The result of a job.

    Args:
        name: The name of the job.
        exit_code: The exit code as in a shell: 0 done, 1 or 2 an error, 128 + n ended by signal n.
        seconds: Its duration, without the time in a queue.
        error: The last error in its log, or another reason; empty if the exit code is 0.
    """

    name: str
    exit_code: int
    seconds: float
    error: str


class Executor(ABC):
    """Runs jobs."""

    def prepare(self) -> None:  # noqa: B027 - most have nothing to prepare
        """Start what takes a while and needs no job, before the jobs are known. The default does nothing."""

    @abstractmethod
    def run(self, jobs: Sequence[Job]) -> Generator[Done, None, None]:
        """Run jobs; one that fails does not stop the others.

        Ctrl-C and SIGTERM raise KeyboardInterrupt and ``SystemExit(143)`` here, or where its items are used.
        On any exception, and when the generator is closed, running jobs get SIGTERM: ``fit`` then writes a checkpoint and
        ends. This function waits for them, so no process remains. Callers that may leave early must close the generator,
        for example with ``contextlib.closing``.

        Args:
            jobs: The jobs, with different names.

        Yields:
            The result of each job when it ends.
        """


class Started(ABC):
    """A job that runs in another process or on another machine."""

    @abstractmethod
    def done(self) -> Done | None:
        """Its result; None while it waits or runs."""

    @abstractmethod
    def stop(self) -> None:
        """Make it write a checkpoint and end. Does nothing if it has ended."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once."""


class WatchingExecutor(Executor):
    """Starts jobs in other processes or on other machines, and watches them."""

    at_once: int
    """Maximum number of started jobs that are not done."""
    poll_seconds = 0.1

    @abstractmethod
    def start(self, jobs: Sequence[Job]) -> Iterator[Started]:
        """Start some jobs, or submit them to a scheduler."""

    def opened(self) -> AbstractContextManager[object]:
        """A context for running jobs, such as a connection."""
        return nullcontext()

    def run(self, jobs: Sequence[Job]) -> Generator[Done, None, None]:
        """See ``Executor.run``."""
        waiting, running = list(jobs), list[Started]()
        with on_sigterm(), self.opened():
            try:
                while waiting or running:
                    free = self.at_once - len(running)
                    next_ones, waiting = waiting[:free], waiting[free:]
                    for started in self.start(next_ones) if next_ones else ():
                        running.append(started)
                    ended = False
                    for started in running[:]:
                        if (done := started.done()) is not None:
                            running.remove(started)
                            ended = True
                            yield done
                    if not ended:
                        time.sleep(self.poll_seconds)
            finally:
                end_all(running, self.poll_seconds)


def end_all(running: Sequence[Started], poll_seconds: float) -> None:
    """Stop running jobs and wait for them; kill those that take too long, and all at a second Ctrl-C."""
    try:
        for started in running:
            started.stop()
        until = time.monotonic() + GRACE_SECONDS
        while any(started.done() is None for started in running) and time.monotonic() < until:
            time.sleep(poll_seconds)
    finally:
        for started in running:
            if started.done() is None:
                started.kill()


@contextmanager
def on_sigterm(handler: Callable[[int, FrameType | None], object] | None = None) -> Iterator[None]:
    """Replace the handler of SIGTERM inside the block.

    Args:
        handler: The handler; None raises ``SystemExit(143)``, so that the program ends in the same way as with Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread can set handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, handler or _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _raise(signum: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signum)
