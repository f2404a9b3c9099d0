"""The response time of the program, against ``python -c "import lightning.pytorch"`` in the same round.

python benchmarks/start_up.py --repeats 5
"""

import argparse
import os
import subprocess
import sys
import time

import numpy as np

PEER = [sys.executable, "-c", "import lightning.pytorch"]
COMMANDS = {
    "--help": ["--help"],
    "--version": ["--version"],
    "a misspelt subcommand": ["fitt"],
    "fit --help": ["fit", "--help"],
}
LIMITS = {"--help": 0.1, "--version": 0.1, "a misspelt subcommand": 0.1, "fit --help": 1.3}


def seconds(command: list[str]) -> float:
    """Wall-clock time of a process."""
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - started


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    seconds(PEER)
    rounds = []
    for _ in range(options.repeats):
        peer = seconds(PEER)
        rounds.append(
            (
                peer,
                {name: seconds([sys.executable, "-m", "lightning_vision", *args]) for name, args in COMMANDS.items()},
            )
        )
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {options.repeats} rounds")
    print(f"import lightning.pytorch: {np.median([peer for peer, _ in rounds]):.2f} s")
    print("| command | seconds, median | ratio: median (min to max) | at most |\n|---|---|---|---|")
    for name in COMMANDS:
        ratios = [times[name] / peer for peer, times in rounds]
        print(
            f"| `{name}` | {np.median([times[name] for _, times in rounds]):.2f} | {np.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f}) | {LIMITS[name]} |"
        )
