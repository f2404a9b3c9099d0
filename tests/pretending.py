"""Commands of the program that take no second: a module that Python loads first plays them, in the real processes.

``pretend SECONDS`` writes down when it begins and ends, prints what it may use, and sleeps. On SIGTERM it ends with 143,
or continues if it is called ``pretend SECONDS deaf``.
"""

import json
import os
import signal
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lightning_vision.comparison.executors.executor import Done, Job

SITE = textwrap.dedent(
    """
    import json, os, signal, sys, time

    def pretend(words):
        rest = words[words.index("pretend") + 1 :]
        def note(**what):
            with open(os.environ["PRETENDED"], "a") as file:
                file.write(json.dumps({"pid": os.getpid(), "at": time.monotonic(), **what}) + "\\n")
        def end(signum, frame):
            note(event="told", signal=signum)
            if "deaf" not in rest:
                os._exit(143)
        signal.signal(signal.SIGTERM, end)
        names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "WANDB_PROJECT", "WANDB_SERVICE")
        seen = {name: os.environ.get(name) for name in names}
        note(event="begins", folder=os.getcwd(), parent=os.getppid(), **seen)
        print("pretending", flush=True)
        until = time.monotonic() + float(rest[0])
        while time.monotonic() < until:
            time.sleep(0.02)
        note(event="ends")
        os._exit(0)

    if "pretend" in sys.orig_argv:
        pretend(sys.orig_argv)
    if "lightning_vision.comparison.executors.job_server" in sys.orig_argv:
        import lightning_vision.cli as cli  # of the jobs that are forked

        main = cli.main
        cli.main = lambda: pretend(sys.argv) if "pretend" in sys.argv else main()
    """
)


@dataclass(frozen=True)
class Notes:
    """What the pretended commands wrote down."""

    path: Path

    def read(self) -> list[dict[str, object]]:
        """A row an event."""
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def of(self, event: str) -> list[dict[str, object]]:
        """The rows of one kind of event."""
        return [row for row in self.read() if row["event"] == event]

    def most_at_once(self) -> int:
        """How many ran beside each other."""
        change = {"begins": 1, "ends": -1}
        rows = sorted((row for row in self.read() if row["event"] in change), key=lambda row: float(str(row["at"])))
        running, most = 0, 0
        for row in rows:
            running += change[str(row["event"])]
            most = max(most, running)
        return most


def alive(pid: object) -> bool:
    """Whether a process is there and no zombie."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def pretend(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Notes:
    """Make every Python that is started know these commands, and the modules of the tests."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SITE)
    paths = [str(folder / "site"), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    monkeypatch.setenv("PRETENDED", str(folder / "notes.jsonl"))
    return Notes(folder / "notes.jsonl")


def job(folder: Path, name: str, *words: str) -> Job:
    """A job with its log below a folder."""
    return Job(name, words, folder / "logs" / f"{name}.log")


def text(one: Job) -> str:
    """Its log."""
    return one.log.read_text(encoding="utf-8")


def by_name(done: list[Done]) -> dict[str, Done]:
    """What became of each job."""
    return {one.name: one for one in done}


def wait_for(what: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.05)


def once(what: Callable[[], object], then: Callable[[], object]) -> None:
    """In a thread: wait until something is so, and do something then."""

    def wait_and_do() -> None:
        wait_for(what)
        then()

    threading.Thread(target=wait_and_do).start()


def stop_me() -> None:
    """SIGTERM for this process."""
    os.kill(os.getpid(), signal.SIGTERM)
