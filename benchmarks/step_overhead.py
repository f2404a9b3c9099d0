"""The overhead of the training loop: full fine-tuning of resnet18 at 64 px in batches of 32, against a bare PyTorch loop.

    python -m benchmarks.step_overhead --repeats 5

Both train the same network on the same images in memory, with forward, backward and AdamW step; ours with W&B offline,
metrics.csv and everything else that a run does during training. The two take turns, and the ratio is computed pair by pair.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measuring import CPU, EpochClock, fit, hold_noise, in_memory, machine, usual_epochs

BATCH, BATCHES, SIZE = 32, 40, 64


def ours(folder: Path, name: str, epochs: int) -> list[float]:
    """Seconds of each epoch in a run."""
    EpochClock.seconds.clear()
    fit(
        folder, name, *CPU, *in_memory(SIZE, BATCH), "--data.stream=Joint", "--model.backbone=resnet18",
        "--model.strategy=FullFineTune", f"--trainer.max_epochs={epochs}",
        "--trainer.callbacks+=benchmarks.measuring.EpochClock",
    )  # fmt: skip
    return list(EpochClock.seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    hold_noise(BATCH * BATCHES, SIZE)
    ratios, rates = [], []
    with tempfile.TemporaryDirectory() as temporary:
        for repeat in range(options.repeats):
            # The first epoch of each warms up.
            a, b = ours(Path(temporary), f"run{repeat}", 3)[1:], usual_epochs("resnet18", BATCH, 3)[1:]
            rates.append((BATCH * BATCHES / np.median(a), BATCH * BATCHES / np.median(b)))
            ratios.append(rates[-1][0] / rates[-1][1])
    print(f"{machine('timm')}, {options.repeats} repeats")
    print("| | images/s, median | ratio to the bare loop: median (min to max) |\n|---|---|---|")
    print(
        f"| lightning_vision | {np.median([r[0] for r in rates]):.1f} | {np.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}) |"
    )
    print(f"| bare loop | {np.median([r[1] for r in rates]):.1f} | 1 |")
