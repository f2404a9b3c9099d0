"""Runs from Python, one after another in one process: what remains after them.

    python -m benchmarks.python_api

``lightning_vision.fit`` many times on tiny images, W&B offline and energy measured as by default. After each run are counted:
RSS, threads, open files, child processes, hooks at exit, logging handlers and signal handlers that are not Python's own.
"""

import argparse
import atexit
import gc
import logging
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import psutil

import lightning_vision as lv
from benchmarks.measuring import machine, table
from lightning_vision.testing import ColouredSquares


class Left(NamedTuple):
    """The resources of a process."""

    rss: int
    threads: int
    files: int
    children: int
    exit_hooks: int
    log_handlers: int
    signal_handlers: int


def left() -> Left:
    """Count the resources of this process."""
    gc.collect()
    process = psutil.Process()
    loggers = [
        logging.root,
        *(each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)),
    ]
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    own = (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler, None)
    return Left(
        process.memory_info().rss,
        threading.active_count(),
        process.num_fds(),
        len(process.children(recursive=True)),
        atexit._ncallbacks(),  # the number of hooks, which no public function gives
        sum(len(logger.handlers) for logger in loggers),
        sum(handler not in own for handler in handlers),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--wandb", choices=("offline", "disabled"), default="offline")
    options = parser.parse_args()
    marks, seconds = [], []
    with tempfile.TemporaryDirectory() as root:
        data = ColouredSquares(stream=lv.InstanceIncremental(experiences=3))
        for number in range(options.runs):
            started = time.perf_counter()
            lv.fit(
                data, "MoveToData", backbone="test_resnet", pretrained=False, max_epochs=1, name=f"run-{number}",
                trainer={"accelerator": "cpu", "devices": 1}, root=Path(root), wandb=options.wandb, progress=False,
            )  # fmt: skip
            seconds.append(time.perf_counter() - started)
            marks.append(left())
    shown = sorted({1, 5, options.runs // 2, options.runs})
    rows = [
        [str(n), f"{marks[n - 1].rss / 2**20:.0f}", *map(str, marks[n - 1][1:]), f"{seconds[n - 1]:.2f}"] for n in shown
    ]
    columns = [
        "after run", "RSS, MiB", "threads", "files", "children", "hooks at exit", "logging handlers", "signal handlers", "seconds",
    ]  # fmt: skip
    table(f"{options.runs} runs in one process, W&B {options.wandb}: {machine('timm')}", columns, rows)
    growth = 100 * (marks[-1].rss / marks[min(4, len(marks) - 1)].rss - 1)
    print(f"RSS after the last against that after the fifth: {growth:+.1f} %")
