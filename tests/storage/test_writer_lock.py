"""One folder, one writer: the holder is named, and a lock ends with its process, even if that has started others."""

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from command_line import fit, start
from small_comparison import OFF, words, write_config

from lightning_vision.cli import main
from lightning_vision.errors import ConfigError, DataError, TrainingError
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.storage import writer_lock
from lightning_vision.storage.cache_folder import locked
from lightning_vision.storage.writer_lock import LOCK, only_writer

FORK = multiprocessing.get_context("fork")
WAY_OUT = "or give another --output"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_lock, "WAIT_SECONDS", 0.2)


def hold(folder: Path, seconds: float) -> None:
    """What another process does: it holds a folder, and forks one that lives on as a loader of images may."""
    with only_writer(folder, "lightning-vision fit --data=Digits", way_out=WAY_OUT):
        (folder / "figures").touch()
        child = FORK.Process(target=time.sleep, args=(30,), daemon=True)
        child.start()
        (folder / "child").write_text(str(child.pid))
        time.sleep(seconds)


@pytest.fixture
def holder() -> Iterator[Callable[[Path, float], BaseProcess]]:
    """Starts another process that holds a folder."""
    processes: list[BaseProcess] = []

    def begin(folder: Path, seconds: float = 60.0) -> BaseProcess:
        processes.append(FORK.Process(target=hold, args=(folder, seconds)))
        processes[-1].start()
        until = time.monotonic() + 20
        while not ((folder / "child").is_file() and (folder / "child").read_text()) and time.monotonic() < until:
            time.sleep(0.01)
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.join()


Begin = Callable[..., BaseProcess]


class TestOnlyWriter:
    def test_another_process_is_named_and_its_death_frees_the_folder_at_once(
        self, tmp_path: Path, holder: Begin, capfd: pytest.CaptureFixture[str]
    ) -> None:
        process = holder(tmp_path / "run")
        with pytest.raises(ConfigError) as refused, only_writer(tmp_path / "run", "", way_out=WAY_OUT):
            pytest.fail("two writers")
        said = str(refused.value)
        assert f"Process {process.pid} on {socket.gethostname()} is writing to {tmp_path / 'run'} since 2" in said
        assert "(lightning-vision fit --data=Digits)" in said
        assert f"stop it (kill {process.pid}), or give another --output" in said
        process.kill()
        process.join()
        child = int((tmp_path / "run" / "child").read_text())
        try:
            os.kill(child, 0)  # still there
            began = time.monotonic()
            with only_writer(tmp_path / "run", "", way_out=WAY_OUT):
                assert time.monotonic() - began < 0.1
        finally:
            os.kill(child, signal.SIGKILL)
        assert not (tmp_path / "run" / LOCK).exists()

    def test_one_that_is_about_to_end_is_waited_for(
        self, tmp_path: Path, holder: Begin, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(writer_lock, "WAIT_SECONDS", 20.0)
        process = holder(tmp_path / "run", 1.5)
        with only_writer(tmp_path / "run", "mine", way_out=WAY_OUT):
            assert json.loads((tmp_path / "run" / LOCK).read_text())["pid"] == os.getpid()
        assert f"is in use by process {process.pid} on" in capfd.readouterr().err

    def test_a_folder_that_nothing_was_written_into_is_not_left_behind(self, tmp_path: Path) -> None:
        with only_writer(tmp_path / "some" / "where", "", way_out=WAY_OUT):
            assert (tmp_path / "some" / "where" / LOCK).is_file()
        assert list(tmp_path.iterdir()) == []
        with only_writer(tmp_path / "some" / "where", "", way_out=WAY_OUT):
            (tmp_path / "some" / "figures").touch()
        assert [path.name for path in (tmp_path / "some").iterdir()] == ["figures"]

    def test_a_file_system_without_locks_is_reported_and_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def flock(*_: object) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", flock)
        with only_writer(tmp_path, "", way_out=WAY_OUT):
            assert (
                "file system without locks (No locks available). Do not start another process" in capfd.readouterr().err
            )
        with pytest.raises(DataError, match=r"No locks available.*data\.cache_dir"), locked(tmp_path, "keys"):
            pytest.fail("not locked")

    def test_a_lock_that_points_elsewhere_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").write_text("mine")
        run = tmp_path / "run"
        run.mkdir()
        (run / LOCK).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(TrainingError, match="symbolic links"), only_writer(run, "", way_out=WAY_OUT):
            pytest.fail("followed")
        assert (tmp_path / "elsewhere").read_text() == "mine"

    def test_what_a_lock_says_moves_no_cursor(self, tmp_path: Path, holder: Begin) -> None:
        holder(tmp_path)
        told = json.loads((tmp_path / LOCK).read_text())
        for text in (json.dumps({**told, "command": "\x1b[2Jclear"}), "[]", "\x1b[2J"):
            (tmp_path / LOCK).write_text(text)
            with (
                pytest.raises(ConfigError, match="writing to") as refused,
                only_writer(tmp_path, "", way_out=WAY_OUT),
            ):
                pytest.fail("two writers")
            assert "\x1b" not in str(refused.value)


def test_overwriting_keeps_others_out_meanwhile(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.prepare(resume=False, overwrite=False)
    directory.config.touch()
    (directory.path / LOCK).touch()  # left by a run that was killed
    with directory.held("mine"):
        directory.prepare(resume=False, overwrite=True)
        assert sorted(path.name for path in directory.path.iterdir()) == [LOCK, "checkpoints"]
        with pytest.raises(ConfigError, match=r"--run_name or --trainer.default_root_dir"), directory.held("another"):
            pytest.fail("two writers")


def test_a_folder_with_a_lock_alone_holds_no_run(tmp_path: Path) -> None:
    (tmp_path / LOCK).touch()
    RunDirectory(tmp_path).prepare(resume=False, overwrite=False)


class TestCommands:
    def test_a_refused_run_leaves_no_folder(self, tmp_path: Path) -> None:
        assert start(tmp_path / "runs", "run", f"--model.base_checkpoint={tmp_path}") == 1
        assert not (tmp_path / "runs").exists()

    def test_a_comparison_waits_for_what_an_earlier_one_started(
        self, tmp_path: Path, holder: Begin, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = write_config(tmp_path)
        command = words(folder, "out", "--strategies", "HeadOnly", OFF)
        orphan = holder(folder / "out" / "runs" / "HeadOnly-seed=0")
        assert main(command) == 2
        said = capsys.readouterr().err
        assert f"Process {orphan.pid} on" in said and "runs/HeadOnly-seed=0" in said and "--output" in said
        assert not (folder / "out" / "bases").exists() and not (folder / "out" / LOCK).exists()
        another = holder(folder / "out")
        assert main(command) == 2
        assert f"Process {another.pid} on" in capsys.readouterr().err

    def test_what_reads_a_run_needs_no_lock(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run = fit(tmp_path, "run")
        with RunDirectory(run).held("fit"):
            assert main(["validate", "--ckpt_path", str(run)]) == 0
            assert main(["report", str(run), "--output", str(tmp_path / "report")]) == 0
