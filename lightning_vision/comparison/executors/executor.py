"""An executor runs jobs wherever it does, and says what became of each."""

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
"""How long a job that is told to stop may take to write its checkpoint; it is killed then."""


@dataclass(frozen=True)
class Job:
    """One command of the program.

    Args:
        name: What it is called.
        words: The command line after the program's name, such as ``("fit", "--config", "cells/x.yaml")``.
        log: The file that all it prints is appended to.
    """

    name: str
    words: tuple[str, ...]
    log: Path


@dataclass(frozen=True)
class Done:
    """What became of a job.

    Args:
        name: The job's.
        exit_code: As a shell tells it: 0 done, 1 or 2 an error, 128 + n ended by signal n.
        seconds: What it took, without the time that it waited for its turn.
        error: The last error in its log, or what else is known; empty if the exit code is 0.
    """

    name: str
    exit_code: int
    seconds: float
    error: str


class Executor(ABC):
    """Runs jobs."""

    @abstractmethod
    def run(self, jobs: Sequence[Job]) -> Generator[Done, None, None]:
        """Run jobs; one that fails does not stop the others.

        Ctrl-C and SIGTERM raise KeyboardInterrupt and ``SystemExit(143)`` here, or where its items are used.
        On any exception, and when the generator is closed, what runs is told to stop, by SIGTERM: ``fit`` then writes a
        checkpoint and ends. It is waited for, so nothing is left behind. Whoever may leave it early closes it, as
        ``contextlib.closing`` does.

        Args:
            jobs: What to run; their names differ.

        Yields:
            What became of each, as they end.
        """


class Started(ABC):
    """A job that has been started elsewhere."""

    @abstractmethod
    def done(self) -> Done | None:
        """What became of it; None while it waits or runs."""

    @abstractmethod
    def stop(self) -> None:
        """Tell it to write a checkpoint and end. Nothing happens if it has ended."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once."""


class WatchingExecutor(Executor):
    """Starts jobs elsewhere and watches them."""

    at_once: int
    """Jobs that are started and not done, at most."""
    poll_seconds = 0.1

    @abstractmethod
    def start(self, jobs: Sequence[Job]) -> Iterator[Started]:
        """Start some jobs, or hand them to a scheduler."""

    def opened(self) -> AbstractContextManager[object]:
        """What must be there while jobs run, such as a connection."""
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
    """Stop what still runs and wait for it; what takes too long is killed, as is all at a second Ctrl-C."""
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
    """Within it SIGTERM is handled otherwise.

    Args:
        handler: What is called; None raises ``SystemExit(143)``, which makes it as orderly an end as Ctrl-C is.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    before = signal.signal(signal.SIGTERM, handler or _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _raise(signum: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signum)
