"""The time of a comparison against that of its runs one by one, each with its own command.

    python -m benchmarks.comparison

Five learning strategies and three seeds on the quickstart's stream: one ``compare``, including its report, against fifteen
``fit``, each of which trains its own base. Both are timed as processes, with empty feature caches.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import machine
from lightning_vision.results.schema import read_results

STRATEGIES = ("HeadOnly", "FullFineTune", "configs/strategy/move_to_data.yaml", "RanPAC", "Retrain")
CONFIG = ("--config", "configs/quickstart.yaml")
QUIET = ("--trainer.enable_progress_bar=false", "--wandb.mode=offline")


def program(folder: Path, *words: str) -> float:
    """Seconds of a command that must succeed."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "caches")}
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "lightning_vision", *words], check=True, stdout=subprocess.DEVNULL, env=environment
    )
    return time.perf_counter() - started


def one_by_one(folder: Path, seeds: list[int]) -> tuple[float, int]:
    """Seconds of the runs done one by one, and the bases that were trained."""
    seconds = 0.0
    for seed in seeds:
        for strategy in STRATEGIES:
            chosen = ("--config", strategy) if strategy.endswith(".yaml") else (f"--model.strategy={strategy}",)
            place = (f"--trainer.default_root_dir={folder}", f"--run_name={Path(strategy).stem}-{seed}")
            moved = (f"--seed_everything={seed}", f"--data.stream.seed={seed}")
            seconds += program(folder, "fit", *CONFIG, *chosen, *moved, *place, *QUIET)
    return seconds, count_bases(folder)


def compared(folder: Path, seeds: list[int]) -> tuple[float, int]:
    """Seconds of the comparison, and the bases that were trained."""
    words = (
        "compare",
        *CONFIG,
        "--strategies",
        *STRATEGIES,
        "--seeds",
        *map(str, seeds),
        "--output",
        str(folder / "all"),
    )
    return program(folder, *words, *QUIET), count_bases(folder)


def count_bases(folder: Path) -> int:
    """Runs that trained experience 0."""
    return sum(read_results(path).experiences[0].epochs > 0 for path in folder.rglob("results.json"))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    print(machine())
    print(
        "| repeat | runs one by one, s (bases) | one comparison, s (bases) | ratio (at most 0.6) |\n|---|---|---|---|"
    )
    for repeat in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            for name in ("alone", "compared"):
                (place / name).mkdir()
            together, shared = compared(place / "compared", options.seeds)
            alone, own = one_by_one(place / "alone", options.seeds)
        print(f"| {repeat} | {alone:.1f} ({own}) | {together:.1f} ({shared}) | {together / alone:.2f} |", flush=True)


if __name__ == "__main__":
    main()
