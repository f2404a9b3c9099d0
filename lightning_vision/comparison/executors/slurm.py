"""Jobs on a SLURM cluster, through submitit."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning_vision.comparison.executors.executor import Done, Job, Started, WatchingExecutor, end_all, on_sigterm
from lightning_vision.comparison.executors.job_process import JobProcess
from lightning_vision.errors import ConfigError

if TYPE_CHECKING:
    from submitit import Job as Submission
    from submitit.helpers import DelayedSubmission

CLUSTERS = ("slurm", "local", "debug")
DEFAULTS = {"name": "lightning_vision", "timeout_min": 240}
"""submitit's own limit is five minutes."""
REQUEUES = 100
"""How often a job may run out of time. submitit's limit is three, but a run resumes where it stopped."""
PREEMPTION_SECONDS = 35.0
"""Time for a job after SIGTERM: SLURM sends it before it preempts or cancels a job, and kills within KillWait (30 s)."""


class Slurm(WatchingExecutor):
    """Runs the jobs as one array of SLURM jobs.

    A job is one task on one node; ``fit`` starts the processes for several GPUs itself. When its time is up, a job writes a
    checkpoint, is queued again, and resumes.

    Args:
        folder: The folder for submitit's files; it and the run directories must have the same paths on all nodes.
        cluster: ``slurm``; ``local``: submitit's processes on this machine; ``debug``: in this process.
        workers: Jobs that run at once.
        parameters: submitit's: ``timeout_min``, ``gpus_per_node``, ``cpus_per_task``, ``mem_gb``, and those of SLURM with
            ``slurm_`` before them, such as ``slurm_partition``.

    Raises:
        ConfigError: submitit is not installed, there is no SLURM on this machine, or a parameter is unknown.
    """

    poll_seconds = 1.0  # each poll of a job reads files that may be on a slow disk

    def __init__(
        self,
        folder: Path,
        cluster: Literal["slurm", "local", "debug"] = "slurm",
        workers: int = 2,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        if cluster not in CLUSTERS:
            raise ConfigError(f"cluster: expected one of {', '.join(CLUSTERS)}, found {cluster!r}.")
        if workers < 1:
            raise ConfigError(f"--workers: expected 1 or more, found {workers}.")
        try:
            import submitit  # optional
        except ImportError as error:
            raise ConfigError(
                "The executor slurm needs submitit, which is not installed: pip install 'lightning_vision[slurm]'."
            ) from error
        if cluster == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
            raise ConfigError(
                "The executor slurm needs SLURM's commands sbatch and srun, and they are not on this machine's PATH. Start "
                "it on a login node of the cluster, or use --executor local."
            )
        asked = {**DEFAULTS, **(parameters or {})}
        _check_one_task(asked)
        self._local = cluster == "local"
        self._executor = submitit.AutoExecutor(folder, cluster=cluster, slurm_max_num_timeout=REQUEUES)
        try:
            self._executor.update_parameters(**{"slurm_array_parallelism": workers, **asked})
        except (NameError, AssertionError, TypeError, ValueError) as error:
            of_slurm = sorted(submitit.SlurmExecutor._valid_parameters())
            raise ConfigError(
                f"submitit refuses an option of the executor: {error}\nThose of SLURM, with slurm_ before them: "
                f"{', '.join(of_slurm)}."
            ) from error
        # SLURM limits an array's jobs itself, but not those of several arrays; submitit's other executors start all at once.
        self.in_rounds = cluster == "slurm"
        self.at_once = 10**6 if cluster == "slurm" else workers if cluster == "local" else 1

    def start(self, jobs: Sequence[Job]) -> Iterator[Started]:
        """Submit them, as an array."""
        with self._executor.batch():
            submissions = [self._executor.submit(Attempt(job)) for job in jobs]
        yield from (_Submitted(job, one, self._local) for job, one in zip(jobs, submissions, strict=True))


def _check_one_task(parameters: Mapping[str, Any]) -> None:
    for name in ("nodes", "tasks_per_node", "slurm_nodes", "slurm_ntasks_per_node"):
        if parameters.get(name, 1) != 1:
            raise ConfigError(
                f"{name}: a run of a comparison is one task on one node, found {parameters[name]}. For a run on several "
                "GPUs give gpus_per_node, and fit --trainer.devices."
            )


class _Submitted(Started):
    """A job that was submitted with submitit."""

    def __init__(self, job: Job, submission: Submission[Done], local: bool) -> None:
        self._job, self._submission, self._local = job, submission, local
        self._begun = time.monotonic()
        self._done: Done | None = None
        self._stopped = False

    def done(self) -> Done | None:
        """Its result; None while it waits, runs, or waits again."""
        from submitit.core.utils import FailedJobError, UncompletedJobError  # optional

        try:
            if self._done is None and self._submission.done(force_check=self._stopped):
                self._done = self._submission.result()
        except (FailedJobError, UncompletedJobError) as error:
            seconds = time.monotonic() - self._begun
            last = str(error).strip().splitlines()[-1]
            words = f"its job {self._submission.job_id} ended as {self._submission.state}: {last}"
            more = f"\nFor details see {self._submission.paths.stderr}"
            self._done = Done(self._job.name, 1, seconds, words + more)
        return self._done

    def stop(self) -> None:
        """Cancel it. SLURM sends SIGTERM; submitit's local executor would kill within a second, so it gets SIGTERM here."""
        self._stopped = True
        if not self._local:
            self._submission.cancel(check=False)
        elif self.done() is None:
            os.kill(int(self._submission.job_id), signal.SIGTERM)

    def kill(self) -> None:
        """Cancel it a second time, which kills it."""
        self._submission.cancel(check=False)


class Attempt:
    """Called by submitit on the node: run the job in its own process, resuming where it stopped.

    Args:
        job: The job.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._process: JobProcess | None = None
        self._done: Done | None = None

    def __call__(self) -> Done:
        """Run it."""
        job = Job(self.job.name, resuming(self.job.words), self.job.log)
        # SLURM signals every process of a task, and submitit's signal would end this one before it saves.
        not_for_it = {signal.SIGUSR1, signal.SIGUSR2}
        # A name that makes Lightning start the processes of several GPUs itself.
        environment = {"SLURM_JOB_NAME": "interactive"}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, not_for_it)
        try:
            process = self._process = JobProcess(job, environment)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            with on_sigterm(lambda *_: process.stop()):
                done = self._wait(process)
        finally:
            end_all([process], 0.1)
        if done.exit_code == 128 + signal.SIGTERM and os.environ.get("SUBMITIT_EXECUTOR") == "slurm":
            time.sleep(PREEMPTION_SECONDS)
        return done

    def _wait(self, process: JobProcess) -> Done:
        """Wait in a thread: submitit's signal handler interrupts this and waits as well, without a lock."""

        def wait() -> None:
            self._done = process.wait()

        threading.Thread(target=wait, daemon=True).start()
        while self._done is None:
            time.sleep(0.1)
        return self._done

    def checkpoint(self) -> DelayedSubmission:
        """Called by submitit when the time is up: let the job save, then submit it again."""
        from submitit.helpers import DelayedSubmission  # optional

        if self._process is not None:
            self._process.stop()
            while self._done is None:
                time.sleep(0.1)
        return DelayedSubmission(Attempt(self.job))


def resuming(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a ``fit`` that resumes an existing run, or starts a new one."""
    if words[:1] != ("fit",) or any(word.startswith("--ckpt_path") for word in words):
        return words
    return (*words, "--ckpt_path", "last")
