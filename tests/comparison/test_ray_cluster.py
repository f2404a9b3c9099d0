"""The executor for Ray, on a real cluster of this machine with two CPUs."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pretending import Notes, alive, by_name, job, once, pretend, stop_me, text, wait_for

from lightning_vision.comparison.executors.ray_cluster import Ray
from lightning_vision.errors import ConfigError

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray has no wheel for this Python")


def cluster_is_there() -> bool:
    """Whether some program has a cluster on this machine."""
    return any(process.info["name"] == "gcs_server" for process in psutil.process_iter(["name"]))


# ---- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["somewhere", "127.0.0.1", ":6379", "127.0.0.1:port", "127.0.0.1:99999999"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(ConfigError, match=r"--address: expected auto, host:port|Nothing answers"):
        Ray(address)


def test_an_address_where_nothing_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        begun = time.monotonic()
        with pytest.raises(ConfigError, match=r"(?s)Nothing answers at the Ray address .*ray start --head"):
            Ray(f"127.0.0.1:{free.getsockname()[1]}")
    assert time.monotonic() - begun < 5


@needs_ray
def test_an_address_where_something_else_listens() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        begun = time.monotonic()
        with pytest.raises(ConfigError, match="Ray cluster"):
            Ray(f"127.0.0.1:{mute.getsockname()[1]}")
    assert time.monotonic() - begun < 15


@needs_ray
@pytest.mark.skipif(cluster_is_there(), reason="a Ray cluster runs on this machine, and auto finds it")
def test_no_cluster_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    begun = time.monotonic()
    with pytest.raises(ConfigError, match=r"(?s)no Ray cluster at the address auto.*Could not find any running Ray"):
        Ray("auto")
    assert time.monotonic() - begun < 15


def test_ray_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError(\"No module named 'ray'\")\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'lightning_vision\[ray\]'"):
        Ray("auto")


@pytest.mark.parametrize("number", [-1, True, "two"])
def test_resources_that_make_no_sense(number: object) -> None:
    with pytest.raises(ConfigError, match="gpus_per_cell: expected a number from 0 on"):
        Ray("auto", gpus_per_cell=number)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Notes]]:
    """The address of a cluster that always ends with the test, and what its jobs wrote."""
    folder = tmp_path_factory.mktemp("cluster")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        notes = pretend(folder, patch)
        for name, value in (("RAY_AUTH_MODE", "disabled"), ("RAY_USAGE_STATS_ENABLED", "0")):
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        place = Path("/tmp") / f"ray-test-{os.getpid()}"  # Ray's sockets have no room for a longer path
        words = ["start", "--head", "--block", f"--port={port}", "--num-cpus=2", "--include-dashboard=false"]
        limits = ["--object-store-memory=100000000", f"--temp-dir={place}", "--disable-usage-stats"]
        ray = str(Path(sys.executable).parent / "ray")
        with (folder / "ray.log").open("w") as log:
            head = subprocess.Popen([ray, *words, *limits], stdout=log, stderr=log, start_new_session=True)
        try:
            wait_for(lambda: "Ray runtime started" in (folder / "ray.log").read_text())
            yield f"127.0.0.1:{port}", notes
        finally:
            head.terminate()
            try:
                head.wait(20)
            finally:
                os.killpg(head.pid, signal.SIGKILL) if alive(head.pid) else None
                shutil.rmtree(place, ignore_errors=True)


# ---- jobs ---------------------------------------------------------------------------------------------------------


@needs_ray
def test_four_jobs_run_on_two_cpus(cluster: tuple[str, Notes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address, notes = cluster
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_PROJECT", "travels")
    before = signal.getsignal(signal.SIGTERM)
    jobs = [job(tmp_path, f"job{number}", "pretend", "0.5") for number in range(3)]
    jobs.append(job(tmp_path, "wrong", "fitt"))
    done = by_name(list(Ray(address).run(jobs)))
    assert {name: one.exit_code for name, one in done.items()} == {"job0": 0, "job1": 0, "job2": 0, "wrong": 2}
    assert done["wrong"].error.startswith("Expected a subcommand, found 'fitt'")
    assert "pretending" in text(jobs[0])
    begun = notes.of("begins")
    assert {row["folder"] for row in begun} == {str(tmp_path)}
    assert {row["WANDB_PROJECT"] for row in begun} == {"travels"}
    assert notes.most_at_once() <= 2
    assert signal.getsignal(signal.SIGTERM) == before


@needs_ray
def test_a_worker_that_is_killed_is_a_failed_job(cluster: tuple[str, Notes], tmp_path: Path) -> None:
    address, notes = cluster
    earlier = len(notes.of("begins"))

    def kill() -> None:
        stat = Path(f"/proc/{notes.of('begins')[-1]['pid']}/stat").read_text()
        os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGKILL)  # its parent, Ray's worker

    once(lambda: len(notes.of("begins")) > earlier, kill)
    jobs = [job(tmp_path, "lost", "pretend", "8"), job(tmp_path, "lives", "--version")]
    done = by_name(list(Ray(address, cpus_per_cell=2).run(jobs)))
    assert done["lost"].exit_code == 1
    assert done["lost"].error.startswith("Ray lost the job: ")
    assert done["lives"].exit_code == 0


@needs_ray
def test_stopping_reaches_the_nodes(cluster: tuple[str, Notes], tmp_path: Path) -> None:
    address, notes = cluster
    earlier = len(notes.of("begins"))
    jobs = [job(tmp_path, f"sleeps{number}", "pretend", "30") for number in range(3)]
    running = Ray(address).run(jobs)
    once(lambda: len(notes.of("begins")) == earlier + 2, stop_me)
    with pytest.raises(SystemExit) as ended:
        list(running)
    assert ended.value.code == 143
    pids = [row["pid"] for row in notes.of("begins")[earlier:]]
    assert len(pids) == 2 and not any(alive(pid) for pid in pids)
    assert {row["pid"] for row in notes.of("told")} >= set(pids)


@needs_ray
def test_what_no_node_has_is_said(cluster: tuple[str, Notes], capsys: pytest.CaptureFixture[str]) -> None:
    Ray(cluster[0], gpus_per_cell=4)
    assert "has the 1 CPUs and 4 GPUs that a cell needs; cells wait until one does" in capsys.readouterr().err
