"""Jobs in several processes on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence

from lightning_vision.comparison.executors.executor import Job, Started, WatchingExecutor
from lightning_vision.comparison.executors.job_process import JobProcess
from lightning_vision.errors import ConfigError

GPUS, THREADS = "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"


class Local(WatchingExecutor):
    """Runs jobs in several processes on this machine.

    Args:
        workers: Number of processes.
        gpus: Numbers of the GPUs to use; None: all that this process may use. They are divided equally (of four, each of
            two workers gets two); if there are fewer GPUs than workers, workers share them.

    Raises:
        ConfigError: There is no such number of workers or GPUs.
    """

    def __init__(self, workers: int, gpus: Sequence[int] | None = None) -> None:
        if workers < 1:
            raise ConfigError(f"--workers: expected 1 or more, found {workers}.")
        if gpus is not None and not (
            isinstance(gpus, list | tuple) and all(isinstance(gpu, int) and gpu >= 0 for gpu in gpus)
        ):
            raise ConfigError(f"gpus: expected a list of numbers such as [0, 1], found {gpus!r}.")
        self.at_once = workers
        visible = _visible_gpus() if gpus is None else [str(gpu) for gpu in gpus]
        threads = {} if THREADS in os.environ else {THREADS: str(max(1, _cores() // workers))}
        self.environments = [{**threads, GPUS: ",".join(dealt)} for dealt in gpus_of_workers(visible, workers)]
        """The environment variables for the jobs of each worker."""
        self._workers: list[JobProcess | None] = [None] * workers

    def start(self, jobs: Sequence[Job]) -> Iterator[Started]:
        """Start a process for each job."""
        for job in jobs:
            free = next(n for n, last in enumerate(self._workers) if last is None or last.done() is not None)
            process = self._workers[free] = JobProcess(job, self.environments[free])
            yield process


def gpus_of_workers(gpus: Sequence[str], workers: int) -> list[list[str]]:
    """Each worker's GPUs: the same number for all, or one that is shared with others."""
    if not gpus:
        return [[]] * workers
    each = len(gpus) // workers
    if each == 0:
        return [[gpus[worker % len(gpus)]] for worker in range(workers)]
    return [list(gpus[worker * each : (worker + 1) * each]) for worker in range(workers)]


def _visible_gpus() -> list[str]:
    """The GPUs in CUDA_VISIBLE_DEVICES, or the numbers of all GPUs.

    torch counts them in a separate process: here it would initialise the GPU and take seconds to import.
    """
    if GPUS in os.environ:
        return [name.strip() for name in os.environ[GPUS].split(",") if name.strip()]
    count = [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"]
    found = subprocess.run(count, stdout=subprocess.PIPE, text=True, check=True)
    return [str(number) for number in range(int(found.stdout))]


def _cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
