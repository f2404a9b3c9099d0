"""Kills runs with SIGKILL at random moments, resumes them with the same command, and compares with an uninterrupted run.

    python benchmarks/kill_and_resume.py [--kills 20] [--seed 0]

Each case (1 or 2 processes, a gradient strategy or a closed form) runs once without interruption. Then runs of the same
command are killed at moments drawn uniformly from their remaining time, excluding the start-up, until the number of kills
is reached; a run that finishes is compared, and the next starts. With 2 processes one of them is killed at random, and the
other must end by itself. Everything except time and energy must be equal: results.json, predictions.npz, the last weights.
The lock of the run directory must be free as soon as the process of rank 0, which holds it, has ended.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from rich.console import Console
from rich.table import Table

from lightning_vision.learning.checkpoints import find_checkpoint, read_checkpoint
from lightning_vision.results.schema import read_results, without_measurements
from lightning_vision.storage.writer_lock import LOCK

EXPERIENCES = 4
OPTIONS = (
    "--trainer.accelerator=cpu",
    "--trainer.max_epochs=4",
    "--trainer.enable_progress_bar=false",
    "--model.backbone=test_byobnet",
    "--model.pretrained=false",
    "--model.drop_rate=0.2",
    "--data=Digits",
    "--data.stream=InstanceIncremental",
    f"--data.stream.experiences={EXPERIENCES}",
    "--wandb.mode=disabled",
)
CASES = {
    "1 process, FullFineTune": ["--trainer.devices=1", "--data.batch_size=32", "--model.strategy=FullFineTune"],
    "1 process, MoveToData": ["--trainer.devices=1", "--data.batch_size=32", "--model.strategy=MoveToData"],
    "2 processes, FullFineTune": ["--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=16", "--model.strategy=FullFineTune"],
    "2 processes, MoveToData": ["--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=16", "--model.strategy=MoveToData"],
}  # fmt: skip


@dataclass
class Case:
    """One command and its results."""

    name: str
    options: list[str]
    folder: Path
    kills: int = 0
    places: dict[str, int] = field(default_factory=dict)
    """Kills by the state of the run."""
    slowest_end: float = 0.0
    """Seconds that the other process took to end by itself."""
    held: int = 0
    """Locks that were still held after their process had ended."""
    resumed: int = 0
    equal: int = 0

    def start(self, run: str, log: Path) -> subprocess.Popen[bytes]:
        """One process, or two, for one run directory."""
        words = ["fit", *OPTIONS, *self.options, f"--trainer.default_root_dir={self.folder}", f"--run_name={run}"]
        with log.open("wb") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "lightning_vision", *words, "--ckpt_path=last"], stdout=file, stderr=file
            )

    def done(self, run: str) -> int:
        """Finished experiences."""
        results = self.folder / run / "results.json"
        return len(read_results(results).experiences) if results.is_file() else 0

    def place(self, run: str) -> str:
        """The state of a run, from its files."""
        done = self.done(run)
        within = list((self.folder / run / "checkpoints").glob(f"experience={done:04d}-*-last.ckpt"))
        if done == EXPERIENCES:
            return "after the last experience"
        return f"in experience {done}, {'after' if within else 'before'} a checkpoint of it"


def wait_for_opening(process: subprocess.Popen[bytes], log: Path) -> None:
    while process.poll() is None and b"process" not in log.read_bytes():
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    names = [(int(word), Path(f"/proc/{word}/cmdline")) for word in path.read_text().split()]
    return [child for child, cmdline in names if cmdline.is_file() and b"lightning_vision" in cmdline.read_bytes()]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_held(run: Path) -> bool:
    """Whether a process holds the lock of a run directory."""
    if not (run / LOCK).exists():
        return False
    try:
        with FileLock(run / LOCK, blocking=False):
            return False
    except Timeout:
        return True


def kill_one(process: subprocess.Popen[bytes], run: Path, chance: random.Random) -> tuple[float, bool]:
    """Kill one process of a run; return the seconds until the others ended, and whether the lock outlived rank 0."""
    pids = [process.pid, *children(process.pid)]
    victim = chance.choice(pids)
    begin = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    process.wait(120)
    held = is_held(run)
    while any(running(pid) for pid in pids if pid != process.pid):
        time.sleep(0.05)
        if time.monotonic() > begin + 120:
            raise RuntimeError(f"{pids} did not end within two minutes after {victim} was killed.")
    return time.monotonic() - begin if len(pids) > 1 else 0.0, held


def equal(one: Path, other: Path) -> bool:
    """Whether two runs have the same results, except for names, time and energy."""
    found = [without_measurements(read_results(run / "results.json")) for run in (one, other)]
    for figures in found:
        figures["run"].pop("name")
    with np.load(one / "predictions.npz") as a, np.load(other / "predictions.npz") as b:
        same = set(a.files) == set(b.files) and all(np.array_equal(a[key], b[key]) for key in a.files)
    mine, others = (read_checkpoint(find_checkpoint(run))["state_dict"] for run in (one, other))
    return found[0] == found[1] and same and all(torch.equal(mine[key], value) for key, value in others.items())


def try_case(case: Case, kills: int, chance: random.Random) -> None:
    log = case.folder / "log.txt"
    untouched = case.start("untouched", log)
    wait_for_opening(untouched, log)
    begin = time.monotonic()
    if untouched.wait() != 0:
        raise RuntimeError(log.read_text())
    seconds = time.monotonic() - begin
    number = 0
    while case.kills < kills:
        run, number, killed = f"killed-{number}", number + 1, 0
        while True:
            process = case.start(run, log)
            wait_for_opening(process, log)
            # A run that was killed three times may finish, so that each case has several results to compare.
            if killed < 3 and case.kills < kills:
                time.sleep(chance.uniform(0, seconds * (1 - case.done(run) / EXPERIENCES)))
            else:
                process.wait()
            if process.poll() is None:
                seconds_to_end, held = kill_one(process, case.folder / run, chance)
                case.slowest_end, case.held = max(case.slowest_end, seconds_to_end), case.held + held
                place = case.place(run)
                case.places[place] = case.places.get(place, 0) + 1
                case.kills, killed = case.kills + 1, killed + 1
            elif process.returncode == 0:
                break
            else:
                raise RuntimeError(log.read_text())
        if killed:
            case.resumed += 1
            case.equal += equal(case.folder / run, case.folder / "untouched")
        print(f"{case.name}: {case.kills} kills, {case.equal} of {case.resumed} runs equal", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="for 1 process, and as many for 2")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    chance = random.Random(given.seed)
    table = Table(
        "case",
        "kills",
        "where the run stood",
        "other process ended after",
        "locks still held",
        "runs compared",
        "equal",
    )
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, options in CASES.items():
            case = Case(name, options, Path(folder) / name.replace(", ", "-").replace(" ", "-"))
            case.folder.mkdir()
            try_case(case, given.kills // 2, chance)
            places = "\n".join(f"{count} x {place}" for place, count in sorted(case.places.items()))
            end = f"at most {case.slowest_end:.1f} s" if case.slowest_end else "-"
            table.add_row(name, str(case.kills), places, end, str(case.held), str(case.resumed), str(case.equal))
            wrong += case.resumed - case.equal + case.held
    Console(width=140).print(table)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
