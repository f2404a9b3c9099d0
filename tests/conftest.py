"""What all tests share."""

import os
from collections.abc import Iterator

import pytest

# Tiny networks: torch's threads would spend the time waiting for each other, and for those of other ranks. It is set
# before torch is loaded, and for every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

LAUNCHERS = ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "RANK", "WORLD_SIZE")


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
    """Lightning tells the processes that it starts where they are, and goes on telling this one."""
    before = {name: os.environ.get(name) for name in LAUNCHERS}
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
