"""Restores what a run changes in its process."""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def process_state_restored() -> Iterator[None]:
    """Restore the state of the process after the block, also after an error.

    This restores the random states of Python, NumPy (the global generator), torch and CUDA; the warnings filters;
    ``os.environ``; the levels of loggers and ``logging.disable``; signal handlers, in the main thread; and the settings
    of torch that ``trainer.deterministic`` and ``trainer.benchmark`` change. The state belongs to the process, not to the
    thread: other threads see the changes while the block runs.
    """
    environment, handlers = dict(os.environ), _handlers()
    levels, disabled = {logger: logger.level for logger in _loggers()}, logging.root.manager.disable
    python, numpy = random.getstate(), np.random.get_state()
    cuda, seed = torch.cuda.is_initialized(), torch.initial_seed()  # type: ignore[no-untyped-call]
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    devices = range(torch.cuda.device_count()) if cuda else ()
    with warnings.catch_warnings(), torch.random.fork_rng(devices, device_type="cuda"):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            if not cuda:  # its generators start from this seed when they are created
                torch.cuda.manual_seed_all(seed)
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            torch.backends.cudnn.benchmark = benchmark
            for logger in _loggers():
                if logger in levels:
                    logger.setLevel(levels[logger])
            logging.disable(disabled)
            _restore_environment(environment)
            for signum, handler in handlers.items():
                if signal.getsignal(signum) != handler:
                    signal.signal(signum, handler)


def _loggers() -> list[logging.Logger]:
    """All named loggers that exist, and the root."""
    named = [logging.root.manager.loggerDict[name] for name in list(logging.root.manager.loggerDict)]
    return [logging.root, *(logger for logger in named if isinstance(logger, logging.Logger))]


def _handlers() -> dict[int, Any]:
    """The handlers that Python knows; empty outside the main thread, which alone can set them."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {int(signum): signal.getsignal(signum) for signum in signal.valid_signals()}
    return {signum: handler for signum, handler in found.items() if handler is not None}


def _restore_environment(before: dict[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
