"""Starts the program in real processes that can be killed, without paying for its imports each time.

Run as a script it has imported everything and used no thread yet; each line that it is given forks one process.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

DRAW = "DRAW_FIGURES"
"""Environment variable of a run whose end is to be drawn; that takes a quarter of a small run."""
IMPORTED = (
    "codecarbon",
    "lightning_vision.drawing.curves",
    "lightning_vision.drawing.figures",
    "lightning_vision.program.dispatch",
    "lightning_vision.run.summary",
    "rapidfuzz.process",
    "timm",
)
"""What a run imports when it comes to it, imported once for all of them."""


@dataclass(frozen=True)
class Forked:
    """One process that runs the program."""

    server: "ForkServer"
    pid: int
    log: Path
    """What it writes."""

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """Send it a signal."""
        os.kill(self.pid, signum)

    def wait(self, seconds: float = 120.0) -> int:
        """Its exit code, or the negative number of the signal that ended it; killed if that takes too long."""
        until = time.monotonic() + seconds
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                self.kill()
                raise TimeoutError(f"no end after {seconds} s:\n{self.log.read_text()}")
            time.sleep(0.05)
        return code

    def poll(self) -> int | None:
        """As ``wait``, None while it runs."""
        code: int | None = self.server.ask({"poll": self.pid})
        return code


class ForkServer:
    """The process that forks the others."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=_environment(),
        )

    def start(self, args: list[str], log: Path, **environment: str) -> Forked:
        """Run the program here, in this process's environment with further variables; what it writes is appended to a file."""
        pid = self.ask(
            {"args": args, "log": str(log), "folder": str(Path.cwd()), "environment": _environment() | environment}
        )
        return Forked(self, pid, log)

    def start_ranks(self, args: list[str], folder: Path, port: int, **environment: str) -> list[Forked]:
        """Two processes of one run, as torchrun starts them; each has its log in the folder."""
        together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        together |= {"GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "1"}
        return [
            self.start(args, folder / f"rank{rank}.log", RANK=rank, LOCAL_RANK=rank, **together, **environment)
            for rank in ("0", "1")
        ]

    def ask(self, question: dict[str, Any]) -> Any:
        """One line there, one line back."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("The server has no pipes.")
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def _environment() -> dict[str, str]:
    """This process's, in which Python finds the tests' own modules, also in processes that the program starts."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])}


def _serve() -> None:
    for late in IMPORTED:
        import_module(late)
    from lightning_vision.cli import main
    from lightning_vision.run.stream_run import StreamRun

    codes: dict[int, int] = {}
    for line in sys.stdin:
        question = json.loads(line)
        if "poll" in question:
            pid = question["poll"]
            if pid not in codes:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    codes[pid] = os.waitstatus_to_exitcode(status)
            print(json.dumps(codes.get(pid)), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            file = os.open(question["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for descriptor in (1, 2):
                os.dup2(file, descriptor)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.chdir(question["folder"])
            os.environ.clear()
            os.environ.update(question["environment"])
            with nullcontext() if DRAW in os.environ else patch.object(StreamRun, "draw_figures"):
                code = main(question["args"])
            sys.stdout.flush()
            os._exit(code)
        print(json.dumps(pid), flush=True)


if __name__ == "__main__":
    _serve()
