"""A process whose run has lost another one ends, even where it waits for an answer that never comes."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable

import pytest

from lightning_vision.run import rank_processes as processes


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The exit codes with which this process would have ended at once."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.2)
    return codes


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_rank_0_ends_the_others_and_itself_when_one_is_gone(
    ended: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    launched = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
    rank_1, rank_2 = launched
    started = processes.StartedProcesses(launched)
    assert launched == []  # Lightning's observer, which would kill this process at once, sees none
    rank_1.kill()
    wait_for(lambda: ended)
    assert ended == [1]
    assert rank_2.wait(10) == -signal.SIGKILL
    assert (
        "The process of local rank 1 ended with SIGKILL. This run cannot continue without it" in capfd.readouterr().err
    )
    started.close()


def test_rank_0_waits_at_the_end_and_kills_what_stays(ended: list[int], capfd: pytest.CaptureFixture[str]) -> None:
    quick, stuck = subprocess.Popen(["true"]), subprocess.Popen(["sleep", "60"])
    processes.StartedProcesses([quick]).close()
    assert quick.returncode == 0
    assert capfd.readouterr().err == ""
    processes.StartedProcesses([stuck]).close()
    assert stuck.returncode == -signal.SIGKILL
    assert ended == []


def test_another_rank_ends_when_rank_0_is_gone(
    ended: list[int], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(processes.PARENT, str(os.getppid() + 1))  # as if another process had started this one, and died
    processes.end_with_parent()
    wait_for(lambda: ended)
    assert ended == [1]
    assert f"The process of rank 0 ({os.getppid() + 1}) has ended." in capfd.readouterr().err
    assert processes.PARENT not in os.environ  # what this process starts is no rank of the run


def test_a_process_that_a_user_started_does_not_watch_its_parent(ended: list[int]) -> None:
    before = [thread for thread in threading.enumerate() if thread.name == "process-watch"]
    processes.end_with_parent()
    assert [t for t in threading.enumerate() if t.name == "process-watch"] == before
    assert ended == []
