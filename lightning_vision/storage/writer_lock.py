"""One folder, one writer: a lock that dies with its process, and says who holds it."""

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
"""The file in a folder that its writer holds locked; it is gone once the writer has ended in an orderly way."""
WAIT_SECONDS = 10.0
"""How long to wait for the folder: a process that is dying may still write its last checkpoint."""
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What file systems without locks answer, as some that lie on a network."""
LONGEST_COMMAND = 300


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as it says itself in the lock's file.

    Args:
        pid: Its process id.
        host: The machine it runs on.
        since: When it took the lock: local date and time with the zone's offset.
        command: Its command line.
    """

    pid: int
    host: str
    since: str
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}: {self.command}"


@contextmanager
def only_writer(folder: Path, command: str, *, way_out: str, name: str = LOCK) -> Iterator[None]:
    """Hold a folder, so that nobody else writes into it; whoever comes later waits briefly and is then refused.

    The operating system takes the lock away when the process ends, however it ends; no process that it started holds it
    any longer. On a file system without locks a word says so, and nothing is held.

    Args:
        folder: It is made, and taken away again if nothing was written into it.
        command: What holds it, for whoever is refused: a command line.
        way_out: What whoever is refused can do beside waiting, a clause after "or".
        name: The lock's file in the folder, where not all that lies in it is written by one.

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
                # Whoever waits for a file that has lost its name makes another.
                stack.callback(path.unlink, missing_ok=True)
                _sign(path, command)
        except OSError as error:
            why = error.strerror or error
            raise TrainingError(f"{folder} cannot be written: {why}. Make it writable, {way_out}.") from error
        yield


def wait_for_writers(folders: Iterable[Path], *, way_out: str) -> None:
    """Wait until nobody writes into these folders, as an earlier process may that is about to end.

    Args:
        folders: They need not be there.
        way_out: See ``only_writer``.

    Raises:
        ConfigError: One is still held after a while.
    """
    for folder in folders:
        if (folder / LOCK).exists():
            with only_writer(folder, "", way_out=way_out):
                pass  # its turn has come: nobody holds it


def _take(lock: FileLock, folder: Path, path: Path, way_out: str) -> bool:
    """Whether the lock is held now; not where there are no locks.

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
                    print_notice(f"{folder} is held by {holder or 'another process'}. Waiting for it to end.")
                patience = max(0.0, until - time.monotonic())
                continue
            raise ConfigError(_refusal(folder, holder, way_out)) from None
        except FileNotFoundError:  # whoever held it took the folder away again, for nothing was written into it
            if time.monotonic() > until:
                raise
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            print_notice(
                f"{folder} lies on a file system without locks ({error.strerror}): nothing will keep another process from "
                "writing into it at the same time, so start none there."
            )
            return False
        else:
            return True


def _refusal(folder: Path, holder: Holder | None, way_out: str) -> str:
    if holder is None:
        who, end = "Another process", "end it"
    else:
        who = f"Process {holder.pid} on {holder.host}"
        end = f"end it (kill {holder.pid}{'' if holder.host == socket.gethostname() else f', on {holder.host}'})"
    since = "" if holder is None else f" since {holder.since} ({holder.command})"
    return (
        f"{who} has been writing into {folder}{since}; two at once would spoil what is there. Wait until it has ended, {end}, "
        f"{way_out}. Nothing was changed."
    )


def _sign(path: Path, command: str) -> None:
    now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    told = command if len(command) <= LONGEST_COMMAND else f"{command[: LONGEST_COMMAND - 3]}..."
    holder = Holder(os.getpid(), socket.gethostname(), now, told)
    path.write_text(json.dumps(asdict(holder)) + "\n", encoding="utf-8")


def _read_holder(path: Path) -> Holder | None:
    """Who signed the lock's file; None where nobody did, or the file says something else."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Holder(int(told["pid"]), *(printable(str(told[key]))[:400] for key in ("host", "since", "command")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remove_empty(made: Iterable[Path]) -> None:
    with suppress(OSError):  # something lies in it: it stays, with those above it
        for place in made:
            place.rmdir()
