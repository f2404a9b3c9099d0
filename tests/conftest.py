"""What all tests share."""

import base64
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import pytest
from fork_server import ForkServer

# Tiny networks: torch's threads would spend the time waiting for each other, and for those of other ranks. It is set
# before torch is loaded, and for every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

RUN_THE_PROGRAM = {"command_line", "lightning_vision.cli", "lightning_vision.testing.conformance", "test_configs"}
# Drawing takes a third of a small run. Modules that run the program omit it, except those that check the drawings.
DRAWN = {"test_checkpoint_tasks", "test_data_options", "test_loggers", "test_media", "test_stream_cli", "test_run"}
# The same of a report's charts as PNG: the others have this image in their place.
CHARTED = {"test_compare", "test_reporting"}
CHART = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
# The modules that take longest, longest first, so that no worker begins one of them when the others have nothing left to do.
# They were found by `pytest -n 0 --durations=0`; the options in pyproject.toml keep this order.
LONGEST = (
    "test_compare",
    "test_resume",
    "test_ranks",
    "test_docs",
    "test_notebooks",
    "test_compare_configs",
    "test_executors",
    "test_conformance_faults",
    "test_compare_planning",
    "test_compare_from_python",
    "test_fit",
    "test_site",
    "test_strategy_configs",
    "test_hostile_run",
    "test_gitw_configs",
    "test_recipe",
    "test_avalanche_plugin",
    "test_classifier",
)
# A shell that starts the tests in the background lets them ignore Ctrl-C, and so would every process that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest modules first."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def runs_the_program(request: pytest.FixtureRequest, but_for: set[str]) -> bool:
    """Whether a module runs the whole program and is not named."""
    module = request.module
    runs = any(getattr(value, "__module__", None) in RUN_THE_PROGRAM for value in vars(module).values())
    return runs and module.__name__.rsplit(".", 1)[-1] not in but_for


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkServer]:
    """Starts real processes that run the program; all modules of a worker share it, because its imports take long."""
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture(autouse=True, scope="module")
def drawn(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a run and a report draw at their end is drawn where a test looks at it."""
    with ExitStack() as patches:
        if runs_the_program(request, DRAWN):
            patches.enter_context(patch("lightning_vision.run.stream_run.StreamRun.draw_figures"))
        if runs_the_program(request, CHARTED):
            patches.enter_context(patch("lightning_vision.report.chart.Chart.png", lambda self: CHART))
        yield


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One worker more than there are cores: processes that are started, killed and given up are waited for a good part of the time."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.fixture(scope="module")
def few_digits() -> Iterator[None]:
    """1,000 of the digits, where it is tested that a command or a config runs, and not how well it learns."""
    from sklearn.datasets import load_digits

    def first_digits(return_X_y: bool) -> tuple[Any, Any]:  # noqa: N803 - scikit-learn's name
        pixels, labels = load_digits(return_X_y=return_X_y)
        return pixels[:1000], labels[:1000]

    with patch("sklearn.datasets.load_digits", first_digits):
        yield


@pytest.fixture(autouse=True, scope="module")
def own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What one module's tests keep in the user's cache folder, such as features, no other finds there."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("caches"))
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(autouse=True, scope="module")
def no_trace_of_other_processes() -> Iterator[None]:
    """Lightning, schedulers and W&B set environment variables for the processes that they start, which stay set in this one."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def own_settings_of_torch() -> Iterator[None]:
    """What trainer.deterministic and trainer.benchmark of a run in this process have left, no other test sees."""
    yield
    if torch := sys.modules.get("torch"):
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = False
