"""A job in its own process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from lightning_vision.comparison.executors.executor import Done, Job, Started
from lightning_vision.comparison.executors.job_log import JobLog

OWNER = "LIGHTNING_VISION_OWNER"
"""Environment variable of ``lightning_vision.run.rank_processes``: the process that started this one, with which it ends."""
UNBUFFERED = {"PYTHONUNBUFFERED": "1"}
"""Environment variables of a job: a kill loses no line of its log."""


class JobProcess(Started):
    """``python -m lightning_vision`` with a job's words; it ends soon after the process that started it.

    Its processes form a separate process group: Ctrl-C in the terminal reaches only this process, which stops them.

    Args:
        job: The job.
        environment: Environment variables to set, in addition to those of this process.
        folder: The working directory; None: that of this process.
    """

    def __init__(self, job: Job, environment: Mapping[str, str] | None = None, folder: Path | None = None) -> None:
        self._log = JobLog(job)
        variables = {**os.environ, **(environment or {}), **UNBUFFERED, OWNER: str(os.getpid())}
        variables.pop("WANDB_SERVICE", None)  # W&B's helper process of this process would end with it
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lightning_vision", *job.words],
            stdin=subprocess.DEVNULL,
            stdout=self._log.file,
            stderr=subprocess.STDOUT,
            env=variables,
            cwd=folder,
            process_group=0,
        )
        self._done: Done | None = None

    def done(self) -> Done | None:
        """Its result; None while it runs."""
        if self._done is None and (code := self._process.poll()) is not None:
            if code < 0:
                kill_group(self._process.pid)  # other ranks and loaders, which it could not stop
            self._done = self._log.close(code)
        return self._done

    def wait(self) -> Done:
        """Its result, after it has ended."""
        self._process.wait()
        done = self.done()
        if done is None:
            raise RuntimeError("A process that was waited for has an exit code.")
        return done

    def stop(self) -> None:
        """Send SIGTERM: ``fit`` writes a checkpoint and ends."""
        self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL to all its processes, and wait for them."""
        kill_group(self._process.pid)
        self.wait()


def kill_group(pid: int) -> None:
    """Send SIGKILL to a job's process and to all that it has started, where they still run."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # the group has ended
