"""What a run from Python leaves of its process: nothing."""

import logging
import os
import random
import signal
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from coloured_squares import ColouredSquares

from lightning_vision import InstanceIncremental
from lightning_vision.api.fit import fit
from lightning_vision.errors import ConfigError

OPTIONS: dict[str, Any] = {
    "backbone": "test_resnet",
    "pretrained": False,
    "max_epochs": 1,
    "trainer": {"accelerator": "cpu", "devices": 1},
    "progress": False,
}


def squares() -> ColouredSquares:
    return ColouredSquares(stream=InstanceIncremental(experiences=2))


def state() -> dict[str, Any]:
    """All of a process that a run might change."""
    loggers = {name: logging.getLogger(name) for name in ("", "lightning.pytorch", "lightning.fabric.utilities.seed")}
    return {
        "python": random.getstate(),
        "numpy": [value.tolist() if isinstance(value, np.ndarray) else value for value in np.random.get_state()],
        "torch": torch.get_rng_state().tolist(),
        "environment": dict(os.environ),
        "filters": list(warnings.filters),
        "levels": {name: logger.level for name, logger in loggers.items()},
        "backend": matplotlib.get_backend(),
        "handlers": {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)},
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
    }


@pytest.mark.parametrize("wandb", ["offline", "disabled"])
def test_a_run_leaves_the_process_as_it_was(wandb: str, tmp_path: Path) -> None:
    options = OPTIONS | {"root": tmp_path, "wandb": wandb}
    data = squares()
    trainer = {"trainer": {**OPTIONS["trainer"], "deterministic": True}}
    before = state()
    fit(data, "MoveToData", name="first", **options | trainer)
    assert state() == before
    with pytest.raises(ConfigError):
        fit(data, "MoveToData", name="first", **options)
    assert state() == before


def test_runs_leave_no_thread_file_hook_or_handler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    left = import_module("benchmarks.python_api").left
    options = OPTIONS | {"root": tmp_path, "wandb": "offline"}
    data = squares()
    counts = []
    for number in range(4):
        fit(data, "MoveToData", name=f"run-{number}", **options)
        counts.append(left()[1:])
    assert counts[1:] == [counts[0]] * 3
