"""The program, in this process or in two that talk to each other."""

from __future__ import annotations

import io
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import torch

from lightning_vision.cli import main
from lightning_vision.run.stream_run import StreamRun

# Imported once, by the process that the ranks are forked from.
PRELOAD = [
    "codecarbon",
    "lightning_vision.program.dispatch",
    "lightning_vision.run.summary",
    "lightning_vision.testing",
    "rapidfuzz.process",
    "timm",
]


def run_here(words: Sequence[str]) -> tuple[int, str]:
    """Run the program in this process.

    Returns:
        Its exit code and what it wrote.
    """
    written = io.StringIO()
    with _small(), redirect_stdout(written), redirect_stderr(written):
        code = main(list(words))
    return code, written.getvalue()


def run_on_two_ranks(words: Sequence[str], log: Path, seconds: float = 120.0) -> tuple[int, str]:
    """Run the program in two processes on this machine, as torchrun would.

    Args:
        words: The command line; it asks for two devices.
        log: The file that both write to.
        seconds: When to give up; both are then killed.

    Returns:
        0 if both ended well, and what they wrote.
    """
    context = multiprocessing.get_context("forkserver")  # of a process without threads, and with the imports done
    context.set_forkserver_preload(PRELOAD)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [context.Process(target=_rank, args=(list(words), rank, port, str(log))) for rank in (0, 1)]
    for process in ranks:
        process.start()
    until = time.monotonic() + seconds
    while any(process.is_alive() for process in ranks) and time.monotonic() < until:
        if any(process.exitcode for process in ranks):  # the other one notices, or waits for ever
            until = min(until, time.monotonic() + 10)
        time.sleep(0.02)
    late = [process for process in ranks if process.is_alive()]
    for process in late:
        process.kill()
    for process in ranks:
        process.join()
    said = log.read_text(encoding="utf-8") if log.exists() else ""
    if late:
        said += f"error: {len(late)} of 2 processes did not end, probably because each waits for the other.\n"
    return max(abs(process.exitcode or 0) for process in ranks), said


def _rank(words: list[str], rank: int, port: int, log: str) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "1"}
    os.environ.update({**place, **own})
    with _small():
        code = main(words)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def _small() -> Iterator[None]:
    """Without threads that wait for each other and without figures, which take longer than a tiny run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with patch.object(StreamRun, "draw_figures"):
            yield
    finally:
        torch.set_num_threads(threads)
