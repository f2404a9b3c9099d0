"""Jobs on a Ray cluster."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_vision.comparison.executors.executor import Done, Job, Started, WatchingExecutor, end_all
from lightning_vision.comparison.executors.job_process import JobProcess
from lightning_vision.errors import ConfigError

TCP_SECONDS, ANSWER_SECONDS = 3.0, 11.0
"""Time for a port to accept a connection, and for a cluster to report its resources."""
TRAVELLING = ("HF_", "OMP_NUM_THREADS", "PYTHONPATH", "TORCH_", "WANDB_", "XDG_CACHE_HOME")
"""Prefixes of the environment variables that are passed to jobs: the nodes of a cluster have their own environment."""
ASK = """\
import json, sys, ray
ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
print(json.dumps([node["Resources"] for node in ray.nodes() if node["Alive"]]))
"""


class Ray(WatchingExecutor):
    """Runs each job in a Ray task, which starts a process on its node; all GPUs of a job are on that node.

    The data and the run directories must have the same paths on all nodes, and the same environment must be installed.

    Args:
        address: ``auto`` for the cluster of this machine, ``host:port``, or ``ray://host:port``.
        gpus_per_cell: GPUs of each job; with 0.5 two jobs share one, with 0 they see none.
        cpus_per_cell: Processor cores of each job.

    Raises:
        ConfigError: ray is not installed, or nothing answers at the address.
    """

    at_once = 10**6  # Ray holds back what does not fit

    def __init__(self, address: str | None = "auto", gpus_per_cell: float = 0, cpus_per_cell: float = 1) -> None:
        for name, number in (("gpus_per_cell", gpus_per_cell), ("cpus_per_cell", cpus_per_cell)):
            if isinstance(number, bool) or not isinstance(number, int | float) or number < 0:
                raise ConfigError(f"{name}: expected a number from 0 on, found {number!r}.")
        self.address = address or "auto"
        self.resources = {"GPU": float(gpus_per_cell), "CPU": float(cpus_per_cell)}
        nodes = _ask(self.address)
        if not any(all(node.get(what, 0.0) >= need for what, need in self.resources.items()) for node in nodes):
            need = f"{cpus_per_cell:g} CPUs and {gpus_per_cell:g} GPUs"
            print(
                f"No node of the Ray cluster {self.address} has the {need} that a cell needs; cells wait until one does.",
                file=sys.stderr,
            )

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Connect to the cluster."""
        import ray  # optional, and a second to import

        before = signal.getsignal(signal.SIGTERM)
        ray.init(address=self.address, logging_level=logging.ERROR, log_to_driver=False)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # ray replaces it
        try:
            yield
        finally:
            ray.shutdown()

    def start(self, jobs: Sequence[Job]) -> Iterator[Started]:
        """Submit the jobs to Ray."""
        import ray

        task = ray.remote(num_cpus=self.resources["CPU"], num_gpus=self.resources["GPU"], max_retries=0, max_calls=1)(
            run_on_node
        )
        environment = {name: value for name, value in os.environ.items() if name.startswith(TRAVELLING)}
        for job in jobs:
            yield _Task(job, task.remote(job, Path.cwd(), environment))


class _Task(Started):
    """A job that was submitted to Ray."""

    def __init__(self, job: Job, reference: Any) -> None:
        self._job, self._reference = job, reference
        self._begun = time.monotonic()
        self._done: Done | None = None

    def done(self) -> Done | None:
        """Its result; None while it waits or runs."""
        import ray

        if self._done is None and ray.wait([self._reference], timeout=0)[0]:
            try:
                self._done = ray.get(self._reference)
            except ray.exceptions.RayError as error:
                words = " ".join(str(error).split())
                seconds = time.monotonic() - self._begun
                self._done = Done(
                    self._job.name, 1, seconds, f"Ray lost the job: {type(error).__name__}: {words[:500]}"
                )
        return self._done

    def stop(self) -> None:
        """Cancel it: its worker stops the process and waits for it."""
        import ray

        ray.cancel(self._reference)

    def kill(self) -> None:
        """Cancel it and its worker, with which its process ends."""
        import ray

        ray.cancel(self._reference, force=True)


def run_on_node(job: Job, folder: Path, environment: Mapping[str, str]) -> Done:
    """Called by Ray on a node: run the job in its own process, in the folder where the comparison was started."""
    process = JobProcess(job, environment, folder)
    try:
        while (done := process.done()) is None:
            time.sleep(0.1)
        return done
    finally:
        end_all([process], 0.1)


def _ask(address: str) -> list[dict[str, float]]:
    """The resources of each node of the cluster.

    They are read in a separate process: Ray tries for a minute to reach an address, and then ends its process.

    Raises:
        ConfigError: There is none, or it does not answer in time.
    """
    _check_port(os.environ.get("RAY_ADDRESS") or address if address == "auto" else address)
    try:
        asked = subprocess.run(
            [sys.executable, "-c", ASK, address], capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"No Ray cluster answered at {address} within {ANSWER_SECONDS:.0f} s.{_WAYS}") from error
    last = (asked.stdout.strip().splitlines() or [""])[-1]
    if asked.returncode != 0:
        reason = (asked.stderr.strip().splitlines() or ["no reason given"])[-1]
        if "No module named 'ray'" in reason:
            raise ConfigError(
                "The executor ray needs Ray, which is not installed: pip install 'lightning_vision[ray]'."
            )
        raise ConfigError(f"There is no Ray cluster at the address {address}: {reason}{_WAYS}")
    found: list[dict[str, float]] = json.loads(last)
    return found


_WAYS = " Start one with `ray start --head` and give its --address host:port, or use --executor local."


def _check_port(address: str) -> None:
    """Check that something listens at a ``host:port``, which is fast; ``auto`` names none."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if address == "auto":
        return
    if not (host and port.isdigit()):
        raise ConfigError(f"--address: expected auto, host:port or ray://host:port, found {address!r}.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), TCP_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"Nothing answers at the Ray address {address}: {error}.{_WAYS}") from error
