"""Memory that a network frees and asks for again is not fetched anew from the system."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from lightning_vision.program.process_memory import keep_freed_memory

if sys.argv[1:]:
    keep_freed_memory()
for round_ in range(10):
    if round_ == 5:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    layers = [np.ones(2**20) for _ in range(6)]  # of 8 MB
    del layers
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the option is of glibc")
def test_pages_are_fetched_once() -> None:
    def faults(*words: str) -> int:
        return int(subprocess.run([sys.executable, "-c", PROGRAM, *words], check=True, capture_output=True).stdout)

    assert faults() > 10_000, "or the test shows nothing"
    assert faults("keep") < 200
