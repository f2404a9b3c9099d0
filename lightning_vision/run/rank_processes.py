"""The processes of a run: how they start, and how they end when one of them fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

PARENT = "LIGHTNING_VISION_PARENT"
"""Environment variable: the process that started this one as another rank of its run."""
OWNER = "LIGHTNING_VISION_OWNER"
"""Environment variable: the process that started this one as a run of a comparison, and that ends with it."""
GRACE_SECONDS = 30.0
"""Time for a process to notice by itself that another has ended: its own error says more."""


class StartedProcesses:
    """The processes that this one started as the other ranks of its run on this machine.

    They are watched, and end with it. Lightning's own observer kills all processes within five seconds when one ends,
    while this one may be closing its files, so the observer gets an empty list.

    Args:
        launched: The processes of Lightning's launcher, in the order of the ranks from 1 on; the list is emptied.
    """

    def __init__(self, launched: list[subprocess.Popen[bytes]]) -> None:
        self._processes = launched[:]
        launched.clear()
        self._closing = threading.Event()
        if self._processes:
            _watch(self._failed, self._kill, self._closing)

    def close(self) -> None:
        """Wait for the others; kill those that have not ended after a while."""
        self._closing.set()
        until = time.monotonic() + GRACE_SECONDS
        for process in self._processes:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._kill()
                process.wait()
        if any(process.returncode < 0 for process in self._processes):  # it could not report this itself
            _say(f"{self._failed()}")

    def _failed(self) -> str | None:
        for rank, process in enumerate(self._processes, start=1):
            code = process.poll()
            if code:
                how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
                return f"The process of local rank {rank} ended with {how}."
        return None

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()


def start_processes(launcher: Any) -> StartedProcesses:
    """Let Lightning's launcher start the other ranks, unless they run already; each gets the id of this process."""
    os.environ[PARENT] = str(os.getpid())
    try:
        launcher.launch(_nothing)
    finally:
        del os.environ[PARENT]
    return StartedProcesses(getattr(launcher, "procs", []))


def _nothing() -> None:
    """The function for Lightning's launcher, which does nothing."""


def end_with_parent() -> None:
    """End when the process that started this one has ended.

    If that is another rank, waiting for it may never end. If it is a comparison, the next one may resume this run.
    """
    parent, owner = os.environ.pop(PARENT, None), os.environ.pop(OWNER, None)
    if parent is not None:
        pid = int(parent)
        _watch(lambda: None if os.getppid() == pid else f"The process of rank 0 ({pid}) has ended.", _nothing)
    if owner is not None:
        pid_of_owner = int(owner)
        _watch(lambda: None if os.getppid() == pid_of_owner else _stop(), _nothing)


def _stop() -> str:
    """Stop this run, and print the reason."""
    os.kill(os.getpid(), signal.SIGTERM)
    return "The comparison that started this run has ended."


def _watch(
    failed: Callable[[], str | None], clean_up: Callable[[], None], closing: threading.Event | None = None
) -> None:
    """In a thread: when another process has failed, print so, and end this one if it does not end by itself."""
    closing = closing or threading.Event()

    def watch() -> None:
        while (reason := failed()) is None:
            if closing.wait(1.0):
                return
        if closing.is_set():
            return
        _say(f"{reason} This run cannot continue without it. To resume it, repeat the command with --ckpt_path last.")
        if not closing.wait(GRACE_SECONDS):
            clean_up()
            os._exit(1)

    threading.Thread(target=watch, name="process-watch", daemon=True).start()


def _say(text: str) -> None:
    print(f"error: {text}", file=sys.stderr, flush=True)
