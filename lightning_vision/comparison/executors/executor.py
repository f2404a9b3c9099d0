"""The base of executors, which run jobs and return their results."""

from __future__ import annotations

import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from lightning_vision.results.not_evaluated import NOT_EVALUATED

GRACE_SECONDS = 60.0
"""Time for a stopped job to write its checkpoint before it is killed."""


@dataclass(frozen=True)
class Job:
    """One command of the program.

    Args:
        name: The name of the job.
        words: The command line after the program's name, such as ``("fit", "--config", "cells/x.yaml")``.
        log: The file to which its output is appended.
        after: The name of a job that must have succeeded before this one starts, if it is run in the same call.
    """

    name: str
    words: tuple[str, ...]
    log: Path
    after: str | None = None


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

    @property
    def succeeded(self) -> bool:
        """Whether the job did its work."""
        return self.exit_code in (0, NOT_EVALUATED)


class WaitingJobs:
    """Jobs that have not started, some of which wait for others.

    Args:
        jobs: The jobs of one call, in the order in which they start.
    """

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs = list(jobs)
        self._unfinished = {job.name for job in self._jobs}

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._jobs)

    def take(self, most: int) -> list[Job]:
        """Remove and return the first jobs that can start now, ``most`` at the most."""
        ready = [job for job in self._jobs if job.after not in self._unfinished][: max(0, most)]
        self._jobs = [job for job in self._jobs if job not in ready]
        return ready

    def note(self, done: Done) -> None:
        """Let the jobs that wait for one start, or drop them if it failed."""
        self._unfinished.discard(done.name)
        if not done.succeeded:
            self._jobs = [job for job in self._jobs if job.after != done.name]


class Executor(ABC):
    """Runs jobs."""

    def prepare(self) -> None:  # noqa: B027 - most have nothing to prepare
        """Start what takes a while and needs no job, before the jobs are known. The default does nothing."""

    @abstractmethod
    def run(self, jobs: Sequence[Job]) -> Generator[Done, None, None]:
        """Run jobs; one that fails stops only those that wait for it.

        Ctrl-C and SIGTERM raise KeyboardInterrupt and ``SystemExit(143)`` here, or where its items are used.
        On any exception, and when the generator is closed, running jobs get SIGTERM: ``fit`` then writes a checkpoint and
        ends. This function waits for them, so no process remains. Callers that may leave early must close the generator,
        for example with ``contextlib.closing``.

        Args:
            jobs: The jobs, with different names.

        Yields:
            The result of each job when it ends; none for a job that waits for a failed one, which is not started.
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
    in_rounds = False
    """Jobs start only when those that started before are done."""
    poll_seconds = 0.1

    @abstractmethod
    def start(self, jobs: Sequence[Job]) -> Iterator[Started]:
        """Start some jobs, or submit them to a scheduler."""

    def opened(self) -> AbstractContextManager[object]:
        """A context for running jobs, such as a connection."""
        return nullcontext()

    def run(self, jobs: Sequence[Job]) -> Generator[Done, None, None]:
        """See ``Executor.run``."""
        waiting, running = WaitingJobs(jobs), list[Started]()
        with on_sigterm(), self.opened():
            try:
                while waiting or running:
                    free = 0 if self.in_rounds and running else self.at_once - len(running)
                    next_ones = waiting.take(free)
                    for started in self.start(next_ones) if next_ones else ():
                        running.append(started)
                    ended = False
                    for started in running[:]:
                        if (done := started.done()) is not None:
                            running.remove(started)
                            waiting.note(done)
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
