"""The speed of loading images from the disk, against torchvision's ImageFolder and against decoding alone.

    python benchmarks/data_loading.py [--repeats 5] [--images 1200]

It makes two folders of JPEG files, of 500 x 400 and of 1600 x 1200 pixels, from scikit-learn's two photographs, and prints a
table: each row two figures of the same run and their ratio, the median of several repeats with the extremes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import psutil
import sklearn.datasets
import torch
import torchvision
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from datamodules import ImageFolder
from lightning_vision import StreamDataModule
from lightning_vision.data.scenarios import Joint
from lightning_vision.images.apply_transform import transform_image
from lightning_vision.images.decoding import decode

WORKERS = 2
BATCH = 32
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


class ManyRows(StreamDataModule):
    """A table of many rows, whose images are made in memory."""

    def __init__(self, rows: int, num_workers: int) -> None:
        self.rows = rows
        super().__init__(
            "", batch_size=64, num_workers=num_workers, image_size=8, stream=Joint(), train_transforms="resize"
        )

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """Paths of realistic length."""
        rows = np.arange(self.rows)
        paths = [
            f"a folder of images/class {row % 100:03d}/an image with a name of its own {row:07d}.jpg" for row in rows
        ]
        return pd.DataFrame({"path": paths, "label": rows % 100, "split": ""}), [f"class {n:03d}" for n in range(100)]

    def load_image(self, index: int) -> Tensor:
        """One of a thousand shades."""
        return torch.full((3, 8, 8), index % 251, dtype=torch.uint8)


def make_images(folder: Path, width: int, height: int, count: int) -> float:
    """Write crops of a mosaic of two photographs at their own resolution; return the mean size of a file in kB."""
    images = Path(sklearn.datasets.__file__).parent / "images"
    tiles = [np.asarray(Image.open(images / name)) for name in ("china.jpg", "flower.jpg")]
    row = np.concatenate([tiles[0], tiles[1], tiles[0][:, ::-1], tiles[1][:, ::-1]], axis=1)
    mosaic = Image.fromarray(np.concatenate([row, row[::-1], row[:, ::-1], row[::-1, ::-1]], axis=0))
    generator = np.random.default_rng(0)
    for number in range(count):
        left = int(generator.integers(0, mosaic.width - width))
        top = int(generator.integers(0, mosaic.height - height))
        place = folder / f"class {number % 4}"
        place.mkdir(parents=True, exist_ok=True)
        mosaic.crop((left, top, left + width, top + height)).save(place / f"{number:05d}.jpg", quality=88)
    sizes = [path.stat().st_size for path in folder.rglob("*.jpg")]
    return sum(sizes) / len(sizes) / 1000


def seconds(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def compared(repeats: int, one: Callable[[], object], two: Callable[[], object]) -> tuple[float, float, list[float]]:
    """Median seconds of two calls that take turns, and the ratios two / one."""
    pairs = [(seconds(one), seconds(two)) for _ in range(repeats)]
    return *(statistics.median(values) for values in zip(*pairs, strict=True)), [b / a for a, b in pairs]


def our_epoch(data: StreamDataModule, epoch: int = 0) -> int:
    """One epoch of training batches, normalised where a network would be."""
    data.enter(0, seed=0, epoch=epoch)
    count = 0
    for batch in data.train_dataloader():
        count += len(batch["image"].float().mul_(1 / (255 * STD)).sub_(MEAN / STD))  # as Network.normalise
    return count


def their_loader(folder: Path) -> DataLoader[Any]:
    """Torchvision's ImageFolder on Pillow images, with the same transforms."""
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(224, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN.flatten().tolist(), STD.flatten().tolist()),
        ]
    )
    dataset = torchvision.datasets.ImageFolder(str(folder), transform)
    return DataLoader(dataset, batch_size=BATCH, num_workers=WORKERS, shuffle=True)


def their_epoch(loader: DataLoader[Any]) -> int:
    """One epoch."""
    return sum(len(image) for image, _ in loader)


def read(folder: Path, **options: Any) -> ImageFolder:
    """Our datamodule with all images in training."""
    return ImageFolder(
        folder, batch_size=BATCH, num_workers=WORKERS, val_fraction=0, test_fraction=0, stream=Joint(), **options
    )


def rows_of(folder: Path, name: str, count: int, repeats: int) -> Iterator[tuple[str, str, str, str]]:
    """The rows of the table that are about one size of images."""
    ours, theirs = read(folder), their_loader(folder)
    our_epoch(ours), their_epoch(theirs)  # the disk's cache is warm for both
    a, b, ratios = compared(repeats, lambda: our_epoch(ours), lambda: their_epoch(theirs))
    yield f"{name}: ours / torchvision's ImageFolder, {WORKERS} workers", *shown(count / a, count / b, ratios)

    files = sorted(folder.rglob("*.jpg"))[: max(40, count // 8)]
    torch.set_num_threads(1)

    def evaluate() -> None:
        source = ours.prepared.source
        for row in range(len(files)):
            transform_image(ours.eval_transform, source.open(row))

    a, b, ratios = compared(repeats, evaluate, lambda: [decode(file) for file in files])
    yield (
        f"{name}: ours, evaluation transform / decoding alone, one core",
        *shown(len(files) / a, len(files) / b, ratios),
    )

    speeds, ratios = [], []
    for _ in range(max(1, repeats // 2)):
        with tempfile.TemporaryDirectory() as cache:
            cached = read(folder, cache="decoded", cache_dir=cache)
            first, second = seconds(lambda: our_epoch(cached, 0)), seconds(lambda: our_epoch(cached, 1))  # noqa: B023
            speeds.append((count / second, count / first))
            ratios.append(first / second)
    a, b = (statistics.median(values) for values in zip(*speeds, strict=True))
    yield f"{name}: cache=decoded, second epoch / first", *shown(a, b, ratios)


def shown(one: float, two: float, ratios: list[float]) -> tuple[str, str, str]:
    """Two speeds and their ratio as text."""
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return f"{one:.0f}", f"{two:.0f}", spread


def memory_in_mb(rows: int, workers: int) -> float:
    """Resident memory of a loader and its workers together, shared memory counted once: in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "--memory", str(rows), str(workers)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_memory(rows: int, workers: int) -> float:
    """The same of this process and its children, in MB."""
    data = ManyRows(rows, workers)
    data.enter(0, seed=0)
    loader = iter(data.train_dataloader())
    for _ in range(8 * workers):
        next(loader)
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return float(sum(process.memory_full_info().pss for process in processes) / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=1200, help="Of 500 x 400; of 1600 x 1200 a quarter.")
    parser.add_argument("--memory", type=int, nargs=2, metavar=("ROWS", "WORKERS"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.memory:
        print(measure_memory(*asked.memory))
        return
    print(f"{os.cpu_count()} cores, torch {torch.__version__}, torchvision {torchvision.__version__}")
    print("| what | one | two | ratio (extremes) |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        for width, height, count in ((500, 400, asked.images), (1600, 1200, asked.images // 4)):
            folder = Path(place) / f"{width}"
            size = make_images(folder, width, height, count)
            for row in rows_of(folder, f"{width} x {height}, {size:.0f} kB", count, asked.repeats):
                print(f"| {' | '.join(row)} |", flush=True)
    small, (one, four) = memory_in_mb(5000, 4), [memory_in_mb(100_000, workers) for workers in (1, 4)]
    print(f"| 100,000 rows: memory of loader and 4 workers / of 1, MB | {four:.0f} | {one:.0f} | {four / one:.2f} |")
    print(f"| the same with 4 workers / 5,000 rows, MB | {four:.0f} | {small:.0f} | {four / small:.2f} |")


if __name__ == "__main__":
    main()
