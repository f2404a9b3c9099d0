"""A process that imports the program once, and forks a process for each job."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any, NoReturn

from lightning_vision.comparison.executors.executor import Done, Job, Started
from lightning_vision.comparison.executors.job_log import JobLog
from lightning_vision.comparison.executors.job_process import OWNER, UNBUFFERED, kill_group
from lightning_vision.errors import TrainingError

IMPORTED = (
    "lightning_vision.program.dispatch",
    "lightning_vision.drawing.figures",
    "lightning_vision.run.summary",
    "codecarbon",
    "matplotlib.style",
    "requests",
    "timm",
    "wandb.apis.public",
)
"""What a run imports, at the latest at its end."""


class JobServer:
    """Starts jobs in processes of their own, which need not import the program again.

    The jobs are forked from a process in which no library has computed anything yet: libraries that have used threads or a GPU
    would fail after a fork. It starts with the first job, and ends with this object or with the process that owns it.

    Args:
        environment: Environment variables for the process, in addition to those of this one: what libraries read when they
            are imported.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    def import_program(self) -> None:
        """Start the process, and let it import the program while this one does something else."""
        self._ask("import", answered=False)

    def count_gpus(self) -> int:
        """The number of GPUs of this machine. A forked process counts them: in this one, it would initialise the GPU."""
        return self.wait(self._ask("count GPUs"))

    def start(self, job: Job, environment: Mapping[str, str]) -> ForkedJob:
        """Start a job.

        Args:
            job: The job.
            environment: Environment variables to set, in addition to those of this process.
        """
        log = JobLog(job)
        variables = {**os.environ, **environment}
        variables.pop("WANDB_SERVICE", None)  # W&B's helper process of this process would end with it
        pid = self._ask("start", job.words, str(job.log), str(Path.cwd()), variables)
        return ForkedJob(self, log, pid)

    def exit_code(self, pid: int) -> int | None:
        """The exit code of a job, or minus the number of the signal that ended it; None while it runs."""
        code: int | None = self._ask("exit code", pid)
        return code

    def wait(self, pid: int) -> int:
        """The exit code of a job, after it has ended."""
        code: int = self._ask("wait", pid)
        return code

    def close(self) -> None:
        """End the process; jobs that still run stop themselves soon afterwards."""
        if self._process is not None and self._pipe is not None:
            self._pipe.close()
            self._process.wait()
            self._process = self._pipe = None

    def __del__(self) -> None:
        """Close it."""
        self.close()

    def _ask(self, *question: Any, answered: bool = True) -> Any:
        pipe = self._pipe or self._open()
        try:
            pipe.send(question)
            return pipe.recv() if answered else None
        except (EOFError, OSError) as error:
            raise TrainingError(
                "The process that starts the runs of this comparison has ended, perhaps because the memory is full. Its runs save "
                "their progress and end; the same command resumes the comparison."
            ) from error

    def _open(self) -> Connection:
        self._pipe, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **self._environment, **UNBUFFERED},
            pass_fds=[theirs.fileno()],
            process_group=0,  # Ctrl-C in the terminal reaches only the process that owns it
        )
        theirs.close()
        return self._pipe


class ForkedJob(Started):
    """A job that a ``JobServer`` has started. Its processes form a separate process group.

    Args:
        server: The server.
        log: The log of the job.
        pid: The process.
    """

    def __init__(self, server: JobServer, log: JobLog, pid: int) -> None:
        self._server, self._log, self._pid = server, log, pid
        self._done: Done | None = None

    def done(self) -> Done | None:
        """Its result; None while it runs."""
        if self._done is None and (code := self._server.exit_code(self._pid)) is not None:
            self._close(code)
        return self._done

    def stop(self) -> None:
        """Send SIGTERM: ``fit`` writes a checkpoint and ends."""
        if self._done is None:
            os.kill(self._pid, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to all its processes, and wait for it."""
        kill_group(self._pid)
        self._close(self._server.wait(self._pid))

    def _close(self, code: int) -> None:
        if code < 0:
            kill_group(self._pid)  # other ranks and loaders, which it could not stop
        self._done = self._log.close(code)


def serve(pipe: Connection) -> None:
    """Fork the jobs that are asked for, until the other end of the pipe is closed.

    A job is a process of ``multiprocessing``: at its end it leaves alone what libraries will clean up at the end of this one,
    such as W&B's temporary folder.
    """
    forked: dict[int, ForkProcess] = {}
    ready = False  # all is imported that a run needs
    while True:
        try:
            question, *rest = pipe.recv()
        except EOFError:
            os._exit(0)  # multiprocessing would wait for the jobs, which end because this process does
        if not ready and (question == "import" or (question == "start" and rest[0][0] == "fit")):
            for name in IMPORTED:
                import_module(name)
            import_module("lightning_vision.tracking.energy").detect_hardware()
            import_module("lightning_vision.tracking.wandb_logger").list_packages()
            ready = True
        if question in ("start", "count GPUs"):
            process = get_context("fork").Process(target=run_job if question == "start" else count_gpus, args=rest)
            process.start()
            pid = process.pid or 0
            with suppress(ProcessLookupError):  # it has ended
                os.setpgid(pid, pid)  # here too: it may be killed before it does so itself
            forked[pid] = process
            pipe.send(pid)
        elif question in ("exit code", "wait"):
            process = forked[rest[0]]
            process.join(None if question == "wait" else 0)
            pipe.send(process.exitcode)


def count_gpus() -> NoReturn:
    """End with the number of GPUs as exit code."""
    sys.exit(import_module("torch").cuda.device_count())


def run_job(words: tuple[str, ...], log: str, folder: str, environment: Mapping[str, str]) -> None:
    """Become ``python -m lightning_vision`` with a job's words.

    Args:
        words: The command line after the program's name.
        log: The file for its output, which exists.
        folder: The working directory.
        environment: All environment variables.

    Raises:
        SystemExit: The job has ended, with its exit code.
    """
    os.setpgid(0, 0)
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update({**environment, **UNBUFFERED, OWNER: str(os.getppid())})
    sys.argv[1:] = words
    runpy.run_module("lightning_vision", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
