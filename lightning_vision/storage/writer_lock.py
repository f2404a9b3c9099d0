"""A lock for the only writer of a folder, which names its holder and is released when the process ends."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from lightning_vision.errors import ConfigError, TrainingError
from lightning_vision.terminal.messages import print_notice
from lightning_vision.terminal.wording import printable

LOCK = ".lock"
"""The lock's file in a folder; it is removed when the writer ends normally."""
WAIT_SECONDS = 10.0
"""How long to wait for the folder, because a process that was just stopped may still write its last checkpoint."""
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""Errors of file systems without locks, such as some network mounts."""
LONGEST_COMMAND = 300


@dataclass(frozen=True)
class Holder:
    """The holder of a lock, as written in the lock's file.

    Args:
        pid: Process id.
        host: The machine.
        since: Time of acquisition: local date and time with the zone's offset.
        command: Command line.
    """

    pid: int
    host: str
    since: str
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}: {self.command}"


@contextmanager
def only_writer(folder: Path, command: str, *, way_out: str, name: str = LOCK) -> Iterator[None]:
    """Hold the lock of a folder; another process waits briefly and is then refused.

    The operating system releases the lock when the process ends in any way; child processes do not hold it. On a file
    system without locks, a message is printed and no lock is held.

    Args:
        folder: The folder. It is created, and removed at the end if it is empty.
        command: Command line of this process, for the message to others.
        way_out: Alternative to waiting for the message to others: a clause that begins with "or".
        name: Name of the lock's file, if the folder has several writers.

    Raises:
        ConfigError: Another process holds it.
        TrainingError: The lock's file cannot be written.
    """
    path = folder / name
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    with ExitStack() as stack:
        stack.callback(lock.release)
        try:
            stack.callback(_remove_empty, [place for place in (folder, *folder.parents) if not place.exists()])
            if _take(lock, folder, path, way_out):
                # A process that waits for the removed file creates a new one.
                stack.callback(path.unlink, missing_ok=True)
                _sign(path, command)
        except OSError as error:
            why = error.strerror or error
            raise TrainingError(f"Cannot write to {folder}: {why}. Make it writable, {way_out}.") from error
        yield


def wait_for_writers(folders: Iterable[Path], *, way_out: str) -> None:
    """Wait until no process writes to these folders.

    Args:
        folders: The folders; they may not exist.
        way_out: See ``only_writer``.

    Raises:
        ConfigError: One is still in use after ``WAIT_SECONDS``.
    """
    for folder in folders:
        if (folder / LOCK).exists():
            with only_writer(folder, "", way_out=way_out):
                pass  # the lock is free


def _take(lock: FileLock, folder: Path, path: Path, way_out: str) -> bool:
    """Acquire the lock; False if the file system has no locks.

    Raises:
        ConfigError: Another process holds it.
        OSError: The file cannot be opened.
    """
    until = time.monotonic() + WAIT_SECONDS
    patience = min(1.0, WAIT_SECONDS)
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            holder = _read_holder(path)
            if time.monotonic() < until:
                if patience < WAIT_SECONDS:
                    print_notice(f"{folder} is in use by {holder or 'another process'}. Waiting for it to end.")
                patience = max(0.0, until - time.monotonic())
                continue
            raise ConfigError(_refusal(folder, holder, way_out)) from None
        except FileNotFoundError:  # the former holder removed the empty folder
            if time.monotonic() > until:
                raise
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            print_notice(
                f"{folder} is on a file system without locks ({error.strerror}). Do not start another process that "
                "writes to it at the same time."
            )
            return False
        else:
            return True


def _refusal(folder: Path, holder: Holder | None, way_out: str) -> str:
    if holder is None:
        who, end = "Another process", "stop it"
    else:
        who = f"Process {holder.pid} on {holder.host}"
        end = f"stop it (kill {holder.pid}{'' if holder.host == socket.gethostname() else f', on {holder.host}'})"
    since = "" if holder is None else f" since {holder.since} ({holder.command})"
    return (
        f"{who} is writing to {folder}{since}. Two writers would damage its files. Wait until it ends, {end}, "
        f"{way_out}. Nothing was changed."
    )


def _sign(path: Path, command: str) -> None:
    now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    told = command if len(command) <= LONGEST_COMMAND else f"{command[: LONGEST_COMMAND - 3]}..."
    holder = Holder(os.getpid(), socket.gethostname(), now, told)
    path.write_text(json.dumps(asdict(holder)) + "\n", encoding="utf-8")


def _read_holder(path: Path) -> Holder | None:
    """The holder in the lock's file; None if there is none, or the file is invalid."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Holder(int(told["pid"]), *(printable(str(told[key]))[:400] for key in ("host", "since", "command")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remove_empty(made: Iterable[Path]) -> None:
    with suppress(OSError):  # it is not empty, so it remains with its parents
        for place in made:
            place.rmdir()
