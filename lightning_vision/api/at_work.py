"""A subcommand inside of another program."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lightning_vision.program.library_errors import explained, quieten
from lightning_vision.run.process_state import process_state_restored
from lightning_vision.terminal.messages import muted

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def at_work() -> Iterator[None]:
    """Run a subcommand without its output, and restore the state of the process.

    Threads do so one after the other: the state is that of the process, and they may use the same classifier.
    """
    with _ONE_AT_A_TIME, muted(), process_state_restored(), explained():
        quieten()
        yield
