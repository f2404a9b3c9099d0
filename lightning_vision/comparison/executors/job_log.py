"""A job's log, from which the reason of a failure is read."""

from __future__ import annotations

import re
import shlex
import signal
import time
from pathlib import Path

from lightning_vision.comparison.executors.executor import Done, Job

ERROR = re.compile(r"^(?:\[rank \d+\] )?error: ", re.MULTILINE)
"""The prefix of errors that ``lightning_vision.cli`` prints."""
END = 100_000
"""Number of bytes that are read from a log's end: a progress bar can write millions."""


class JobLog:
    """The output of a job in one attempt, appended to that of earlier ones.

    Args:
        job: The job, which starts now.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        job.log.parent.mkdir(parents=True, exist_ok=True)
        self.file = job.log.open("ab")
        """The open file."""
        self.file.write(f"$ lightning-vision {shlex.join(job.words)}\n".encode())
        self.file.flush()
        self._begin = self.file.tell()
        self._started = time.monotonic()

    def close(self, code: int) -> Done:
        """The result of the job, which has ended.

        Args:
            code: Its exit code, or minus the number of the signal that killed it.
        """
        seconds = time.monotonic() - self._started
        self.file.close()
        error = "" if code == 0 else self._error(code)
        return Done(self.job.name, code if code >= 0 else 128 - code, seconds, error)

    def _error(self, code: int) -> str:
        if code < 0:
            why = ", as the system does when the memory is full" if -code == signal.SIGKILL else ""
            return f"killed by signal {-code} ({signal.Signals(-code).name}){why}"
        printed = self._printed()
        errors = list(ERROR.finditer(printed))
        if errors:
            return "\n".join(printed[errors[-1].end() :].strip().splitlines()[:20])
        if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
            return f"stopped by {signal.Signals(code - 128).name}; progress is saved"
        last = printed.strip().splitlines()[-1:] or ["it printed nothing"]
        return f"exit code {code} without an error message; the last line of {self.job.log}: {last[0]}"

    def _printed(self) -> str:
        with Path(self.job.log).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(self._begin, size - END))
            return file.read().decode(errors="replace")
