"""A table of 1.3 million image files against one of 10,000: the start, a training step, and the memory of workers.

    python benchmarks/large_table.py [--rows 1300000] [--rounds 7] [--inspect headers] [--folder FOLDER]

The files are hard links to 1,000 small JPEG files, in folders of 1,300. The first start inspects them; what is measured is a
start whose inspection is stored, in a process of its own, from its first line to its first training batch with two workers.
Training steps on both tables take turns, in one process. With ``--folder`` (of a file system with as many free inodes) the files
and the stored inspection are kept for the next time.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import psutil
import torch
from PIL import Image
from torch import nn

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.scenarios import InstanceIncremental

A_FOLDER = 1300
FEW = 10_000
SOURCES = 1000
STEPS = 10
BATCH = 32


class ManyFiles(StreamDataModule):
    """The files that ``make_files`` makes.

    Args:
        root: Their folder.
        rows: The first so many of them.
        options: See ``StreamDataModule``.
    """

    def __init__(self, root: str | Path, rows: int, **options: object) -> None:
        self.rows = rows
        super().__init__(root, image_size=32, batch_size=BATCH, stream=InstanceIncremental(5), **options)  # type: ignore[arg-type]

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """A class a folder."""
        labels = np.arange(self.rows) // A_FOLDER
        samples = pd.DataFrame({"path": [name(row) for row in range(self.rows)], "label": labels, "split": ""})
        return samples, [f"class {number:04d}" for number in range(int(labels[-1]) + 1)]


def name(row: int) -> str:
    """The path of a row."""
    return f"class {row // A_FOLDER:04d}/an image with a name {row:07d}.jpg"


def make_files(folder: Path, rows: int) -> None:
    """Write small JPEG files, and link the others to them."""
    generator = np.random.default_rng(0)
    for row in range(rows):
        path = folder / name(row)
        if row % A_FOLDER == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        if row < SOURCES:
            pixels = generator.integers(0, 256, (5, 5, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC).save(path)
        else:
            os.link(folder / name(row % SOURCES), path)


def start(folder: Path, rows: int, inspect: str) -> None:
    """Start as a run does, print the seconds until the first batch, and the memory of each worker in MB: USS and PSS."""
    data = ManyFiles(folder, rows, num_workers=2, inspect=inspect)
    began = psutil.Process().create_time()
    built = time.time() - began
    data.enter(0, seed=0)
    batches = iter(data.train_dataloader())
    next(batches)
    first = time.time() - began
    for _ in range(7):
        next(batches)
    workers = [process.memory_full_info() for process in psutil.Process().children(recursive=True)]
    own = psutil.Process().memory_full_info().pss / 1e6
    print(built, first, max(w.uss for w in workers) / 1e6, own + sum(w.pss for w in workers) / 1e6, flush=True)


def started(folder: Path, rows: int, inspect: str) -> list[float]:
    """The figures of ``start`` in a process of its own."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        __file__,
        "--start",
        str(rows),
        "--folder",
        str(folder),
        "--inspect",
        inspect,
    ]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [float(number) for number in out.split()]


def steps(data: StreamDataModule) -> Iterator[float]:
    """Seconds of ``STEPS`` training steps of a small network, again and again; loading is part of a step."""
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 1000)
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    data.enter(0, seed=0)
    batches = iter(data.train_dataloader())
    next(batches)  # the order of the epoch is drawn
    while True:
        began = time.process_time()
        for _ in range(STEPS):
            batch = next(batches)
            loss = nn.functional.cross_entropy(network(batch["image"].float() / 255), batch["label"])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        yield time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_300_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--inspect", default="headers", choices=("full", "headers", "off"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--start", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.start:
        start(asked.folder, asked.start, asked.inspect)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = asked.folder or Path(place) / "files"
        if not folder.exists():
            make_files(folder, asked.rows)
        print(f"{os.cpu_count()} cores, torch {torch.__version__}, data.inspect={asked.inspect}")
        print(
            "| rows | first start, s | with a stored inspection: table ready, s | first batch, s | USS of a worker, MB | PSS, MB |"
        )
        print("|---|---|---|---|---|---|")
        for rows in (FEW, asked.rows):
            once = started(folder, rows, asked.inspect)[1]
            built, first, uss, pss = started(folder, rows, asked.inspect)
            print(f"| {rows:,} | {once:.1f} | {built:.1f} | {first:.1f} | {uss:.0f} | {pss:.0f} |", flush=True)
        two = [steps(ManyFiles(folder, rows, num_workers=0, inspect=asked.inspect)) for rows in (FEW, asked.rows)]
        pairs = [tuple(next(one) / STEPS * 1000 for one in two) for _ in range(asked.rounds)]
    few, many = (statistics.median(values) for values in zip(*pairs, strict=True))
    ratios = sorted(b / a for a, b in pairs)
    print(f"| step of {BATCH} images, ms of the processor | {few:.2f} | {many:.2f} | {statistics.median(ratios):.3f} "
          f"({ratios[0]:.3f} to {ratios[-1]:.3f}), at most 1.05 |")  # fmt: skip


if __name__ == "__main__":
    main()
