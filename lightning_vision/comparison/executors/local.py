"""Jobs in several processes on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property

from lightning_vision.comparison.executors.executor import Job, Started, WatchingExecutor
from lightning_vision.comparison.executors.job_server import ForkedJob, JobServer
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
        self.at_once, self.gpus = workers, gpus
        self._threads = {} if THREADS in os.environ else {THREADS: str(max(1, _cores() // workers))}
        self.server = JobServer(self._threads)
        """The process that starts the jobs."""
        self._workers: list[ForkedJob | None] = [None] * workers

    @cached_property
    def environments(self) -> list[dict[str, str]]:
        """The environment variables for the jobs of each worker."""
        visible = self._visible_gpus() if self.gpus is None else [str(gpu) for gpu in self.gpus]
        return [{**self._threads, GPUS: ",".join(dealt)} for dealt in gpus_of_workers(visible, self.at_once)]

    def _visible_gpus(self) -> list[str]:
        """The GPUs in CUDA_VISIBLE_DEVICES, or the numbers of all GPUs."""
        if GPUS in os.environ:
            return [name.strip() for name in os.environ[GPUS].split(",") if name.strip()]
        return [str(number) for number in range(self.server.count_gpus())]

    def prepare(self) -> None:
        """Let the program be imported in the process that starts the jobs."""
        self.server.import_program()

    def start(self, jobs: Sequence[Job]) -> Iterator[Started]:
        """Fork a process for each job."""
        for job in jobs:
            free = next(n for n, last in enumerate(self._workers) if last is None or last.done() is not None)
            process = self._workers[free] = self.server.start(job, self.environments[free])
            yield process


def gpus_of_workers(gpus: Sequence[str], workers: int) -> list[list[str]]:
    """Each worker's GPUs: the same number for all, or one that is shared with others."""
    if not gpus:
        return [[]] * workers
    each = len(gpus) // workers
    if each == 0:
        return [[gpus[worker % len(gpus)]] for worker in range(workers)]
    return [list(gpus[worker * each : (worker + 1) * each]) for worker in range(workers)]


def _cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
