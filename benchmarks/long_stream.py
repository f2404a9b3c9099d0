"""Long streams: does the time per experience stay flat, and memory and disk bounded?

    python -m benchmarks.long_stream --experiences 200 --strategy FullFineTune

Each experience holds a few generated images, so that what is measured is the framework's own time: Trainer, loaders,
loggers, evaluation, checkpoints, results. Time is taken from one finished experience to the next.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch
from torch import Tensor

from benchmarks.measuring import CPU, after_each_experience, fit, machine
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.results.schema import Results


class Noise(StreamDataModule):
    """Four images of noise in each experience, in four classes; 100 test images for any length of the stream."""

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """A table without files."""
        count = 4 * int(os.environ["LONG_STREAM_EXPERIENCES"])
        split = ["train"] * count + ["test"] * 100
        labels = np.arange(len(split)) % 4
        table = pd.DataFrame({"path": [f"{row}" for row in range(len(split))], "label": labels, "split": split})
        return table, ["a", "b", "c", "d"]

    def load_image(self, index: int) -> Tensor:
        """Noise that depends on the row alone."""
        generator = torch.Generator().manual_seed(index)
        return torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=generator)


def run(experiences: int, strategy: str, folder: Path) -> None:
    """One stream; prints its table."""
    os.environ["LONG_STREAM_EXPERIENCES"] = str(experiences)
    process = psutil.Process()
    marks: list[tuple[float, int, int]] = []

    def note(results: Results) -> None:
        checkpoints = sum(path.stat().st_size for path in folder.rglob("checkpoints/*.ckpt"))
        marks.append((time.perf_counter(), process.memory_info().rss, checkpoints))

    with after_each_experience(note):
        fit(
            folder, f"{strategy}-{experiences}", *CPU, "--data=benchmarks.long_stream.Noise", "--data.root=.",
            "--data.num_workers=0", "--data.image_size=32", "--data.val_fraction=0", "--data.batch_size=4",
            "--data.stream=InstanceIncremental", f"--data.stream.experiences={experiences}",
            f"--data.stream.base_fraction={1 / experiences}", "--model.backbone=test_resnet",
            f"--model.strategy={strategy}", *(["--model.strategy.epsilon=0.001"] if strategy == "MoveToData" else []),
            "--trainer.max_epochs=1",
        )  # fmt: skip
    times = np.diff([mark[0] for mark in marks])
    tenth = max(5, experiences // 10)
    first, last = np.median(times[1 : 1 + tenth]), np.median(times[-tenth:])
    early, late = marks[tenth][1], marks[-1][1]
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(
        f"| {strategy} | {experiences} | {1000 * first:.0f} | {1000 * last:.0f} | {last / first:.2f} | {early / 2**20:.0f} "
        f"| {late / 2**20:.0f} | {100 * (late - early) / early:+.1f} % | {marks[-1][2] / 2**20:.1f} | {size / 2**20:.1f} |"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--experiences", type=int, nargs="+", default=[200])
    parser.add_argument("--strategy", nargs="+", default=["FullFineTune"])
    options = parser.parse_args()
    print(f"{machine()}; W&B offline, CSV, CodeCarbon on")
    rows = [(count, strategy) for count in options.experiences for strategy in options.strategy]
    header = "| strategy | experiences | first tenth, ms | last tenth, ms | last/first | RSS early, MiB | RSS end | growth | checkpoints, MiB | run, MiB |"
    for number, (count, strategy) in enumerate(rows):
        with tempfile.TemporaryDirectory() as temporary:
            if number == 0:
                print(header + "\n" + "|---" * 10 + "|")
            run(count, strategy, Path(temporary))
