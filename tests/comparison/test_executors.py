"""Executors run real processes: what becomes of their jobs, what is left behind, what they say when they cannot."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from command_line import QUICK
from pretending import Notes, alive, by_name, job, once, pretend, stop_me, text, wait_for
from wandb_offline import read_offline_run

from lightning_vision.cli import main
from lightning_vision.comparison.executors import executor as watching
from lightning_vision.comparison.executors import job_process
from lightning_vision.comparison.executors.executor import Done, Executor, Job, Started, WatchingExecutor
from lightning_vision.comparison.executors.here import Here
from lightning_vision.comparison.executors.local import Local, gpus_of_workers
from lightning_vision.comparison.executors.slurm import Slurm, resuming
from lightning_vision.errors import ConfigError
from lightning_vision.results.schema import read_results
from lightning_vision.run import rank_processes as processes

MANY_EPOCHS = 100_000


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notes:
    return pretend(tmp_path, monkeypatch)


def fit_job(folder: Path, name: str, *options: str) -> Job:
    place = (f"--trainer.default_root_dir={folder}", f"--run_name={name}")
    return job(folder, name, "fit", *QUICK, *place, *options)


def children(pid: int) -> list[int]:
    found = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for some in found for child in some]


# ---- what all of them do --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["here", "local", "slurm"])
def test_each_job_is_run_and_one_that_fails_stops_no_other(where: str, tmp_path: Path, notes: Notes) -> None:
    executors: dict[str, Callable[[], Executor]] = {
        "here": lambda: Here(main),
        "local": lambda: Local(2, gpus=[]),
        "slurm": lambda: Slurm(tmp_path / "slurm", cluster="local", workers=2),
    }
    jobs = [job(tmp_path, "wrong", "fitt"), job(tmp_path, "right", "--version"), job(tmp_path, "also", "--help")]
    done = by_name(list(executors[where]().run(jobs)))
    assert done.keys() == {"wrong", "right", "also"}
    assert done["wrong"].exit_code == 2
    assert done["wrong"].error.startswith("Expected a subcommand, found 'fitt'")
    for name, printed in (("right", "lightning_vision 0."), ("also", "usage: lightning-vision")):
        assert (done[name].exit_code, done[name].error) == (0, "")
        assert 0 < done[name].seconds < 60
        (log,) = [one for one in jobs if one.name == name]
        assert text(log).startswith(f"$ lightning-vision {log.words[0]}\n")
        assert printed in text(log)


@pytest.mark.parametrize("where", ["here", "local", "slurm"])
def test_a_job_starts_once_the_one_before_it_is_done_and_not_if_that_failed(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    class Ends(Started):
        """A job that ends as soon as it is looked at."""

        def __init__(self, job: Job) -> None:
            self.job = job

        def done(self) -> Done:
            ended.append(self.job.name)
            return Done(self.job.name, int(self.job.words[0]), 0.0, "")

        def stop(self) -> None: ...

        def kill(self) -> None: ...

    class Watching(WatchingExecutor):
        """Notes which jobs it starts, and which have ended by then."""

        at_once, in_rounds = 2, where == "slurm"

        def start(self, jobs: Sequence[Job]) -> Iterator[Started]:
            begun.extend((one.name, len(ended)) for one in jobs)
            return map(Ends, jobs)

    begun: list[tuple[str, int]] = []
    words = {"good": "0", "slow": "0", "bad": "2", "untested": "3", "alone": "0"}
    made = [Job(name, (code,), tmp_path / f"{name}.log") for name, code in words.items()]
    made += [Job(f"after {name}", ("0",), tmp_path / "x.log", after=name) for name in (*words, "a job of another call")]
    executor: Executor = Watching() if where != "here" else Here(lambda words: int(words[0]))
    names = [done.name for done in executor.run(made)]
    assert sorted(names) == sorted({job.name for job in made} - {"after bad"})
    for name in words:
        if name != "bad":
            assert names.index(name) < names.index(f"after {name}")
    assert names.index("after good") > names.index("alone"), "the order is that of the jobs"
    if where == "local":
        assert begun[:3] == [("good", 0), ("slow", 0), ("bad", 2)]
    elif where == "slurm":
        assert all(before % 2 == 0 for _, before in begun), "the jobs of a round start together"


def test_a_log_is_appended_to_and_only_the_last_attempt_tells_the_error(tmp_path: Path) -> None:
    first, second = job(tmp_path, "same", "fitt"), job(tmp_path, "same", "tset")
    (one,), (two,) = list(Local(1, gpus=[]).run([first])), list(Local(1, gpus=[]).run([second]))
    assert "'fitt'" in one.error and "'tset'" in two.error and "'fitt'" not in two.error
    assert text(second).count("error: Expected a subcommand") == 2
    (three,) = Local(1, gpus=[]).run([job(tmp_path, "same", "--version")])
    assert three.error == ""


def test_a_log_that_cannot_be_written_is_an_error_and_leaves_nothing_running(tmp_path: Path, notes: Notes) -> None:
    (tmp_path / "file").write_text("")
    jobs = [job(tmp_path, "sleeps", "pretend", "30"), Job("nowhere", ("--version",), tmp_path / "file" / "x.log")]
    with pytest.raises(OSError, match="file"):
        list(Local(2, gpus=[]).run(jobs))
    assert not any(alive(row["pid"]) for row in notes.read())


# ---- here -----------------------------------------------------------------------------------------------------------


def test_all_that_is_printed_here_is_in_the_log_and_then_on_the_terminal_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("made_within_a_job")

    def prints(words: list[str]) -> int:
        print("by Python, without an end of line", end="")
        print("to the standard error", file=sys.stderr)
        os.write(2, b"to the descriptor\n")
        ctypes.CDLL(None).puts(b"by C")
        subprocess.run(["echo", "by a process"], check=True)
        if words == ["raise"]:
            raise ZeroDivisionError
        logger.addHandler(logging.StreamHandler())
        return 0

    executor = Here(prints)
    assert [done.exit_code for done in executor.run([job(tmp_path, "prints", "x")])] == [0]
    printed = text(job(tmp_path, "prints"))
    for line in ("by Python", "to the standard error", "to the descriptor", "by C", "by a process"):
        assert line in printed
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ZeroDivisionError):
        list(executor.run([job(tmp_path, "raises", "raise")]))
    print("and now")
    ctypes.CDLL(None).puts(b"C too")
    ctypes.CDLL(None).fflush(None)
    logger.warning("and the logger")
    logger.removeHandler(logger.handlers[0])
    out, error = capfd.readouterr()
    assert (sorted(out.split("\n")), error) == (["", "C too", "and now"], "and the logger\n")
    assert "by C" in text(job(tmp_path, "raises"))


def test_a_run_here_leaves_variables_and_filters_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def changes(words: list[str]) -> int:
        os.environ["LOCAL_RANK"] = "3"
        del os.environ["KEPT"]
        warnings.simplefilter("ignore")
        return 0

    monkeypatch.setenv("KEPT", "yes")
    filters = warnings.filters[:]
    list(Here(changes).run([job(tmp_path, "changes", "x")]))
    assert "LOCAL_RANK" not in os.environ and os.environ["KEPT"] == "yes"
    assert warnings.filters == filters


@pytest.mark.parametrize(("code", "raised"), [(130, KeyboardInterrupt), (143, SystemExit)])
def test_a_signal_that_a_run_here_took_for_itself_ends_all(
    code: int, raised: type[BaseException], tmp_path: Path
) -> None:
    called: list[list[str]] = []

    def stopped(words: list[str]) -> int:
        called.append(words)
        return code

    with pytest.raises(raised):
        list(Here(stopped).run([job(tmp_path, "a", "fit"), job(tmp_path, "b", "fit")]))
    assert called == [["fit"]]


def test_sigterm_between_two_runs_here_ends_all(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    jobs = [job(tmp_path, "a", "x"), job(tmp_path, "b", "x")]
    with pytest.raises(SystemExit, match="143"), closing(Here(lambda words: 0).run(jobs)) as running:
        for _ in running:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1.0)
    assert signal.getsignal(signal.SIGTERM) == before


def test_fits_follow_each_other_here(tmp_path: Path) -> None:
    """With W&B and energy on: each has its own W&B run, and ends as it does alone."""
    options = ("--wandb.mode=offline", "--energy.enabled=true", "--wandb.group=both")
    jobs = [fit_job(tmp_path, name, *options) for name in ("first", "second")]
    assert [done.exit_code for done in Here(main).run(jobs)] == [0, 0], text(jobs[0])
    accuracies = [read_results(tmp_path / name / "results.json").test_accuracy for name in ("first", "second")]
    assert accuracies[0] == accuracies[1]
    runs = [read_offline_run(tmp_path / name) for name in ("first", "second")]
    assert all(run.ended and run.group == "both" for run in runs)
    assert runs[0].run_id != runs[1].run_id
    assert "All results are in" in text(jobs[1])


# ---- local ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpus", "workers", "dealt"),
    [
        ([], 2, [[], []]),
        (["0"], 2, [["0"], ["0"]]),
        (["0", "1"], 2, [["0"], ["1"]]),
        (["0", "1"], 3, [["0"], ["1"], ["0"]]),
        (["0", "1", "2", "3"], 2, [["0", "1"], ["2", "3"]]),
        (["0", "1", "2"], 2, [["0"], ["1"]]),  # as many for each: a run on two is another run
        (["GPU-5e", "GPU-7f"], 1, [["GPU-5e", "GPU-7f"]]),
    ],
)
def test_gpus_are_dealt_out(gpus: list[str], workers: int, dealt: list[list[str]]) -> None:
    assert gpus_of_workers(gpus, workers) == dealt


def test_gpus_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5")
    assert [one["CUDA_VISIBLE_DEVICES"] for one in Local(2).environments] == ["2", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [one["CUDA_VISIBLE_DEVICES"] for one in Local(2).environments] == ["", ""]


def test_workers_are_as_many_as_asked_and_have_their_gpus_and_threads(
    tmp_path: Path, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("lightning_vision.comparison.executors.local._cores", lambda: 8)
    jobs = [job(tmp_path, f"job{number}", "pretend", "0.4") for number in range(5)]
    assert [done.exit_code for done in Local(2, gpus=[4, 6]).run(jobs)] == [0] * 5
    assert notes.most_at_once() == 2
    begun = notes.of("begins")
    assert {row["CUDA_VISIBLE_DEVICES"] for row in begun} == {"4", "6"}
    assert {row["OMP_NUM_THREADS"] for row in begun} == {"4"}
    (parent,) = {row["parent"] for row in begun}
    assert parent != os.getpid(), "all are forked from one process, which imports the program once"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("WANDB_SERVICE", "of this process")
    list(Local(2, gpus=[]).run([job(tmp_path, "last", "pretend", "0")]))
    last = notes.of("begins")[-1]
    assert (last["OMP_NUM_THREADS"], last["WANDB_SERVICE"]) == ("3", None)


def test_a_job_that_is_killed_is_a_failed_job(tmp_path: Path, notes: Notes) -> None:
    jobs = [job(tmp_path, "killed", "pretend", "30"), job(tmp_path, "lives", "--version")]
    running = Local(1, gpus=[]).run(jobs)

    def kill() -> None:
        os.kill(int(str(notes.of("begins")[0]["pid"])), signal.SIGKILL)

    once(lambda: notes.of("begins"), kill)
    done = by_name(list(running))
    assert done["killed"].exit_code == 137
    assert "killed by signal 9 (SIGKILL), as the system does when the memory is full" in done["killed"].error
    assert done["lives"].exit_code == 0


@pytest.mark.parametrize("how", ["closed", "SIGTERM", "Ctrl-C", "an error"])
def test_what_runs_is_stopped_and_waited_for(how: str, tmp_path: Path, notes: Notes) -> None:
    running = Local(2, gpus=[]).run([job(tmp_path, f"job{n}", "pretend", "30" if n else "0") for n in range(4)])
    assert next(running).name == "job0"
    wait_for(lambda: len(notes.of("begins")) >= 2)
    sent = {"SIGTERM": signal.SIGTERM, "Ctrl-C": signal.SIGINT}
    if how in sent:
        threading.Timer(0.2, os.kill, (os.getpid(), sent[how])).start()
        with pytest.raises(SystemExit if how == "SIGTERM" else KeyboardInterrupt):
            list(running)
    elif how == "closed":
        running.close()
    else:
        with pytest.raises(ZeroDivisionError):
            running.throw(ZeroDivisionError)
    begun, ended, told = ({row["pid"] for row in notes.of(event)} for event in ("begins", "ends", "told"))
    assert len(begun) in (2, 3), "nothing more was started"
    assert len(ended) == 1 and told == begun - ended
    assert not any(alive(pid) for pid in begun)


def test_a_job_that_does_not_listen_is_killed(tmp_path: Path, notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "GRACE_SECONDS", 0.5)
    running = Local(1, gpus=[]).run([job(tmp_path, "deaf", "pretend", "30", "deaf")])
    threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(SystemExit):
        next(running)
    assert [row["event"] for row in notes.read()] == ["begins", "told"]
    assert not alive(notes.read()[0]["pid"])


def test_a_fit_that_is_stopped_has_saved_and_resumes(tmp_path: Path, notes: Notes) -> None:
    endless = fit_job(tmp_path, "run", f"--trainer.max_epochs={MANY_EPOCHS}", "--model.base_epochs=1")
    running = Local(1, gpus=[]).run([endless])
    once(lambda: list((tmp_path / "run").glob("checkpoints/experience=0001-*-last.ckpt")), stop_me)
    with pytest.raises(SystemExit):
        next(running)
    assert "Stopped by SIGTERM. Progress is saved" in text(endless)
    assert list((tmp_path / "run").glob("checkpoints/experience=0001-*-last.ckpt"))


def test_a_fit_ends_with_the_process_that_started_it(tmp_path: Path, notes: Notes) -> None:
    """Otherwise the next comparison would resume a run that is still active."""
    assert job_process.OWNER == processes.OWNER
    endless = fit_job(tmp_path, "run", f"--model.base_epochs={MANY_EPOCHS}")
    program = (
        "import sys; from pathlib import Path; from lightning_vision.comparison.executors.local import Local; "
        "from lightning_vision.comparison.executors.executor import Job; "
        "list(Local(1, gpus=[]).run([Job('run', tuple(sys.argv[2:]), Path(sys.argv[1]))]))"
    )
    owner = subprocess.Popen([sys.executable, "-c", program, str(endless.log), *endless.words])
    wait_for(lambda: list((tmp_path / "run").glob("checkpoints/*-last.ckpt")))
    (server,) = children(owner.pid)
    (child,) = children(server)
    owner.kill()
    owner.wait()
    wait_for(lambda: not alive(child), seconds=15)
    assert "The comparison that started this run has ended." in text(endless)
    assert "Progress is saved" in text(endless)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Local(0), "--workers: expected 1 or more, found 0"),
        (lambda: Local(1, gpus=2), r"gpus: expected a list of numbers such as \[0, 1\], found 2"),  # type: ignore[arg-type]
        (lambda: Local(1, gpus=[-1]), r"found \[-1\]"),
    ],
)
def test_local_options_that_make_no_sense(make: Callable[[], Executor], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


# ---- SLURM ----------------------------------------------------------------------------------------------------------


def test_submitits_local_executor_is_held_back(tmp_path: Path, notes: Notes) -> None:
    jobs = [job(tmp_path, f"job{number}", "pretend", "0.5") for number in range(3)]
    assert [one.exit_code for one in Slurm(tmp_path / "slurm", cluster="local", workers=1).run(jobs)] == [0] * 3
    assert notes.most_at_once() == 1


def test_submitits_debug_executor_runs_them(tmp_path: Path, notes: Notes) -> None:
    jobs = [job(tmp_path, "wrong", "fitt"), job(tmp_path, "right", "pretend", "0")]
    done = by_name(list(Slurm(tmp_path / "slurm", cluster="debug").run(jobs)))
    assert (done["wrong"].exit_code, done["right"].exit_code) == (2, 0)


def test_a_fit_whose_time_is_up_is_queued_again_and_resumes(tmp_path: Path, notes: Notes) -> None:
    """In submitit's own hands: it handles the signal, starts the job again, and takes its result."""
    long = fit_job(tmp_path, "run", "--trainer.max_epochs=40", "--model.base_epochs=1", "--data.stream.experiences=2")

    def time_is_up() -> None:
        (controller,) = [pid for pid in children(os.getpid()) if "submitit" in Path(f"/proc/{pid}/cmdline").read_text()]
        (task,) = children(controller)
        os.kill(task, signal.SIGUSR2)

    once(lambda: list((tmp_path / "run").glob("checkpoints/experience=0001-*-last.ckpt")), time_is_up)
    (done,) = Slurm(tmp_path / "slurm", cluster="local", workers=1).run([long])
    assert (done.exit_code, done.error) == (0, "")
    assert text(long).count("$ lightning-vision fit") == 2
    assert "Stopped by SIGTERM. Progress is saved" in text(long)
    results = read_results(tmp_path / "run" / "results.json")
    assert results.run.complete
    assert [experience.epochs for experience in results.experiences] == [1, 40]


def test_stopping_reaches_what_submitit_runs(tmp_path: Path, notes: Notes) -> None:
    running = Slurm(tmp_path / "slurm", cluster="local", workers=1).run([job(tmp_path, "sleeps", "pretend", "30")])
    once(lambda: notes.of("begins"), stop_me)
    with pytest.raises(SystemExit):
        next(running)
    assert [row["event"] for row in notes.read()] == ["begins", "told"]
    assert not alive(notes.read()[0]["pid"])


def test_an_array_is_submitted_to_slurm(tmp_path: Path, notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM's commands are scripts here, which run the array's tasks as SLURM would, one after another."""
    scripts = {
        "sbatch": f"""\
cp "$1" {tmp_path}/batch.sh
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
(for task in $(seq 0 "$last"); do
  SLURM_JOB_ID=$((70 + task)) SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$task SLURM_NTASKS=1 SLURM_PROCID=0 \\
  SLURM_JOB_NAME=submitit bash {tmp_path}/batch.sh > {tmp_path}/task$task.log 2>&1
done) > /dev/null 2>&1 &
echo Submitted batch job 7""",
        "srun": 'while [ "${1#--}" != "$1" ]; do case "$1" in --output|--error) shift ;; esac; shift; done; exec "$@"',
        "sacct": "echo 'JobID|State|NodeList'; echo '7_0|RUNNING|here'; echo '7_1|RUNNING|here'; echo '7_2|RUNNING|here'",
    }
    (tmp_path / "bin").mkdir()
    for name, script in scripts.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    parameters = {"timeout_min": 30, "gpus_per_node": 2, "slurm_partition": "gpu", "mem_gb": 8}
    executor = Slurm(tmp_path / "slurm", workers=2, parameters=parameters)
    jobs = [job(tmp_path, "a", "--version"), job(tmp_path, "wrong", "fitt"), job(tmp_path, "b", "pretend", "0")]
    done = by_name(list(executor.run(jobs)))
    assert {name: one.exit_code for name, one in done.items()} == {"a": 0, "wrong": 2, "b": 0}
    batch = (tmp_path / "batch.sh").read_text()
    for line in ("--array=0-2%2", "--time=30", "--gpus-per-node=2", "--partition=gpu", "--mem=8GB", "--signal=USR2@90"):
        assert f"#SBATCH {line}\n" in batch


def test_only_a_fit_resumes() -> None:
    assert resuming(("fit", "--config", "x")) == ("fit", "--config", "x", "--ckpt_path", "last")
    assert resuming(("fit", "--ckpt_path=last")) == ("fit", "--ckpt_path=last")
    assert resuming(("data", "--config", "x")) == ("data", "--config", "x")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cluster": "slurm"}, "sbatch and srun, and they are not on this machine's PATH"),
        ({"cluster": "cloud"}, "cluster: expected one of slurm, local, debug, found 'cloud'"),
        ({"workers": 0}, "--workers: expected 1 or more"),
        ({"parameters": {"partiton": "gpu"}}, "(?s)'partiton'.*account.*partition"),
        ({"parameters": {"slurm_partiton": "gpu"}}, "(?s)'partiton' for executor 'slurm'.*partition"),
        ({"parameters": {"gpus_per_node": "two"}}, 'gpus_per_node" expected type'),
        ({"parameters": {"nodes": 2}}, "nodes: a run of a comparison is one task on one node, found 2"),
        ({"parameters": {"tasks_per_node": 2}}, "tasks_per_node: .* --trainer.devices"),
    ],
)
def test_slurm_options_that_cannot_be_used(options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        Slurm(tmp_path / "slurm", **{"cluster": "local", **options})  # type: ignore[arg-type]


def test_slurm_without_submitit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError, match=r"pip install 'lightning_vision\[slurm\]'"):
        Slurm(tmp_path / "slurm", cluster="local")
