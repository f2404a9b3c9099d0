"""All changes that a block makes to its process are undone."""

import logging
import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from lightning_vision.run.process_state import process_state_restored

NAME = "LIGHTNING_VISION_TEST"


def drawn() -> tuple[float, float, float]:
    """The next number of each generator; they are put back, so that looking changes nothing."""
    python, numpy, own = random.getstate(), np.random.get_state(), torch.get_rng_state()
    found = random.random(), float(np.random.rand()), float(torch.rand(()))
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(own)
    return found


def state() -> dict[str, object]:
    loggers = [logging.getLogger(), logging.getLogger("lightning.pytorch"), logging.getLogger(NAME)]
    return {
        "drawn": drawn(),
        "filters": list(warnings.filters),
        "environment": dict(os.environ),
        "levels": [logger.level for logger in loggers],
        "disabled": logging.root.manager.disable,
        "handlers": [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark),
        "seed": torch.initial_seed(),
    }


def change_everything() -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    warnings.filterwarnings("ignore", message="anything")
    os.environ[NAME] = "another"
    os.environ[f"{NAME}_NEW"] = "new"
    del os.environ[f"{NAME}_GONE"]
    for name in ("", "lightning.pytorch", NAME):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.disable(logging.ERROR)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(signum, signal.SIG_IGN)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = True


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(NAME, "one")
    monkeypatch.setenv(f"{NAME}_GONE", "there")
    # The command line, which has a process of its own, leaves these as trainer.deterministic and trainer.benchmark have set them.
    deterministic, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = False
    yield
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = benchmark


@pytest.mark.parametrize("end", [None, KeyboardInterrupt, ValueError])
def test_everything_is_put_back_however_the_block_ends(end: type[BaseException] | None) -> None:
    before = state()
    try:
        with process_state_restored():
            change_everything()
            changed = state()
            if end is not None:
                raise end
    except (KeyboardInterrupt, ValueError) as error:
        assert type(error) is end
    assert [key for key in before if changed[key] == before[key]] == []
    assert state() == before


def test_what_nobody_changed_is_left_alone() -> None:
    new = f"{NAME}.made.inside"
    with process_state_restored():
        logging.getLogger(new).setLevel(logging.DEBUG)
    assert logging.getLogger(new).level == logging.DEBUG, "a library's own, first imported inside"


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    before, errors = state(), []

    def run() -> None:
        try:
            with process_state_restored():
                torch.manual_seed(3)
                os.environ[NAME] = "another"
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert errors == [] and state() == before


def test_a_gpu_that_is_used_later_begins_from_the_callers_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.manual_seed gives the seed to CUDA too, and CUDA that is not there yet takes the last one when it is."""
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    before = torch.initial_seed()
    with process_state_restored():
        torch.manual_seed(before + 1)
    assert seeds == [before + 1, before]


def test_a_gpu_is_not_touched() -> None:
    """A process that has used CUDA cannot fork any more."""
    code = """
import torch
from lightning_vision.run.process_state import process_state_restored
with process_state_restored():
    torch.manual_seed(1)
print(torch.cuda.is_initialized())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
