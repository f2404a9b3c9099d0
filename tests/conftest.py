"""What all tests share."""

import os
import signal
from collections.abc import Iterator

import pytest
from coverage import Coverage

# Tiny networks: torch's threads would spend the time waiting for each other, and for those of other ranks. It is set
# before torch is loaded, and for every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# They run the whole program again and again, through lines that other tests count already: counting doubles the time of
# Python, and these modules are more than half of it.
NOT_COUNTED = {
    "test_avalanche_plugin",
    "test_bad_input",
    "test_bad_options",
    "test_compare_configs",
    "test_configs",
    "test_conformance",
    "test_conformance_faults",
    "test_dataset_configs",
    "test_docs",
    "test_executors",
    "test_feature_serving",
    "test_gitw_configs",
    "test_ranks",
    "test_resume",
    "test_sklearn_head",
    "test_strategy_configs",
    "test_sweeps",
    "test_template_package",
    "test_trainers",
}
# A shell that starts the tests in the background lets them ignore Ctrl-C, and so would every process that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="module")
def counted(request: pytest.FixtureRequest) -> Iterator[None]:
    """Lines that run are counted, but in some modules."""
    coverage = Coverage.current() if request.module.__name__.rsplit(".", 1)[-1] in NOT_COUNTED else None
    if coverage is not None:
        coverage.stop()
    yield
    if coverage is not None:
        coverage.start()


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
    """Lightning tells the processes that it starts where they are, and goes on telling this one; schedulers and W&B do too."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
