"""A comparison of strategies on a frozen backbone against one bare pass of its images through the backbone.

    python -m benchmarks.lite0 lite0.safetensors
    python -m benchmarks.one_pass --weights lite0.safetensors --cifar10 FOLDER
    python -m benchmarks.one_pass                      # generated images, random weights
    python -m benchmarks.one_pass --workers 2          # two cells at once: compare --executor local

One ``compare`` with configs/image_folder/head_only.yaml and ``--data.views 0``: six strategies and three seeds, so 18 cells and
3 bases, in five experiences with every evaluation, and the report. Caches are empty and nothing is measured beforehand. The
time is that of the command, start-up included.

The bare pass is timm in inference mode over the same files, decoded and resized by two workers: without Lightning, labels or
a disk. Its memory format and micro-batch are the best of a grid, measured in interleaved rounds just before it. The two run
in processes of their own. The images that passed the backbone are counted from the results of all cells and bases: each of
the 4,000 once.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.measuring import machine, table
from benchmarks.reference.cifar10 import image_folder
from lightning_vision.results.schema import read_results

BACKBONE, SIZE = "tf_efficientnet_lite0", 224
STRATEGIES = ("HeadOnly", "MoveToData", "NearestMean", "StreamingLDA", "RanPAC", "FeCAM")
MICRO_BATCHES = (4, 8, 16, 32)
ROUNDS = 5
AT_MOST = 3.0


def write_textures(root: Path, train: int, test: int, classes: int = 10) -> Path:
    """JPEG of 32 x 32: gratings in noise. The class is the direction and the width of the stripes."""
    generator = np.random.default_rng(0)
    down, across = np.mgrid[:32, :32]
    for label in range(classes):
        angle, width = np.pi * label / classes, 3 + label % 3
        for split, count in (("train", train), ("test", test)):
            folder = root / split / f"class {label}"
            folder.mkdir(parents=True)
            for number in range(count):
                turned = angle + generator.normal(0, 0.1)
                waves = np.sin(
                    2 * np.pi * (across * np.cos(turned) + down * np.sin(turned)) / width
                    + generator.uniform(0, 2 * np.pi)
                )
                colour = generator.uniform(-60, 60, 3)
                pixels = 128 + waves[..., None] * colour + generator.normal(0, 30, (32, 32, 3))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:04d}.jpg", quality=95)
    return root


def write_random_weights(path: Path) -> str:
    """A file of weights, so that all seeds have the same backbone."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_file(timm.create_model(BACKBONE, pretrained=False).state_dict(), path)
    return str(path)


def bare_pass(root: Path, weights: str) -> dict[str, float | int | str]:
    """Seconds for all images through the backbone, the way that was the best of the grid, and what each way took."""
    import torch

    from datamodules import ImageFolder
    from lightning_vision.data.batch_order import Draw
    from lightning_vision.data.loaders import make_loader
    from lightning_vision.learning.backbones import build_backbone

    data = ImageFolder(str(root), image_size=SIZE, on_leak="warn")
    backbone, facts = build_backbone(BACKBONE, pretrained=False, weights=weights, image_size=SIZE)
    backbone = backbone.eval()
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (facts.mean, facts.std))
    draws = [Draw(row, 0, -1, valid=True, memory=False) for row in range(len(data.samples))]

    def through(images: torch.Tensor, size: int, form: torch.memory_format) -> None:
        normalised = (images.float() / 255 - mean) / std
        for part in torch.split(normalised, size):
            backbone(part.contiguous(memory_format=form))

    forms = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
    dataset = data.image_dataset()
    some = next(iter(make_loader(dataset, [draws[:32]], 0)))["image"]
    fastest: dict[tuple[str, int], float] = {}
    with torch.inference_mode():
        for round_ in range(ROUNDS + 1):  # the first warms up
            for name, form in forms.items():
                backbone.to(memory_format=form)
                for size in MICRO_BATCHES:
                    begun = time.perf_counter()
                    through(some, size, form)
                    seconds = time.perf_counter() - begun
                    if round_:
                        fastest[name, size] = min(seconds, fastest.get((name, size), seconds))
        name, size = min(fastest, key=fastest.__getitem__)
        backbone.to(memory_format=forms[name])
        begun = time.perf_counter()
        for batch in make_loader(dataset, [draws[i : i + 32] for i in range(0, len(draws), 32)], 2):
            through(batch["image"], size, forms[name])
        seconds = time.perf_counter() - begun
    rates = ", ".join(f"{form} {many}: {len(some) / taken:.0f}" for (form, many), taken in fastest.items())
    return {"seconds": seconds, "images": len(draws), "way": f"{name}, {size}", "images/s of the grid": rates}


def python(words: Sequence[str], stdout: int | TextIO, **environment: str) -> subprocess.CompletedProcess[str]:
    """A module in a process of its own, which must succeed."""
    program, variables = [sys.executable, "-m", *words], {**os.environ, **environment}
    return subprocess.run(program, check=True, stdout=stdout, text=True, env=variables)


def compared(root: Path, weights: str, folder: Path, options: argparse.Namespace) -> float:
    """Seconds of the comparison."""
    words = [
        "compare", "--config", "configs/image_folder/head_only.yaml", "--data.root", str(root), "--data.views", "0",
        "--data.cache_dir", str(folder / "data_cache"), "--strategies", *options.strategies, "--seeds", *map(str, options.seeds),
        "--model.backbone", BACKBONE, "--model.backbone_weights", weights, "--output", str(folder / "comparison"),
        "--data.on_leak", "warn", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false",
    ]  # fmt: skip
    if options.workers > 1:
        words += ["--executor", "local", "--workers", str(options.workers)]
    begun = time.perf_counter()
    python(["lightning_vision", *words], sys.stderr, XDG_CACHE_HOME=str(folder / "caches"))
    return time.perf_counter() - begun


def cells_of(comparison: Path) -> pd.DataFrame:
    """A row a run: its strategy, whether it is a base, its seconds of learning and evaluation, its images and accuracy."""
    rows = []
    for path in sorted(comparison.rglob("results.json")):
        found = read_results(path)
        learning = sum(experience.seconds for experience in found.experiences)
        evaluation = sum(part.evaluation.seconds for part in found.experiences)
        rows.append(
            {
                "run": path.parent.name,
                "strategy": found.run.strategy.class_path.rsplit(".", 1)[-1],
                "base": len(found.experiences) == 1,
                "learning": learning,
                "evaluation": evaluation,
                "images": found.totals.backbone_images,
                "accuracy": found.test_accuracy[-1],
            }
        )
    return pd.DataFrame(rows)


def main(words: list[str] | None = None) -> int:
    """Print the tables; 1 if images passed the backbone more or less than once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cifar10", type=Path, help="CIFAR-10 or other images, as a folder or a tar; default: generated"
    )
    parser.add_argument("--weights", help="a file for model.backbone_weights, see lite0.py; default: random weights")
    parser.add_argument("--train", type=int, default=300, help="training images of each class")
    parser.add_argument("--test", type=int, default=100, help="test images of each class")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=1, help="cells at once, each with its part of the cores")
    parser.add_argument("--keep", type=Path, help="a folder for images and runs, kept; default: a temporary one")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)  # the process of the bare pass
    options = parser.parse_args(words)
    if options.bare:
        print(json.dumps(bare_pass(options.bare, options.weights)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if options.cifar10:
            root = image_folder(options.cifar10, folder, options.train, options.test)
        else:
            root = write_textures(folder / "textures", options.train, options.test)
        weights = options.weights or write_random_weights(folder / "random.safetensors")
        bare_words = ["benchmarks.one_pass", "--bare", str(root), "--weights", weights]
        printed = python(bare_words, subprocess.PIPE).stdout
        bare = json.loads(printed.splitlines()[-1])
        seconds = compared(root, weights, folder, options)
        cells = cells_of(folder / "comparison")
    ratio, images = seconds / bare["seconds"], int(cells["images"].sum())
    about = f"{bare['images']} images; {machine('timm')}; images/s of the grid: {bare['images/s of the grid']}"
    rows = [
        [f"bare pass ({bare['way']})", f"{bare['seconds']:.1f}", "1", f"{bare['images']}"],
        [f"{(~cells['base']).sum()} cells, {cells['base'].sum()} bases", f"{seconds:.1f}", f"{ratio:.2f} (at most {AT_MOST})", f"{images}"],
    ]  # fmt: skip
    table(about, ["", "seconds", "ratio", "images through the backbone"], rows)
    columns = ["a run, mean", "learning, s", "evaluation, s", "images", "test accuracy, %"]
    lines = []
    for name, runs in cells.groupby(cells["strategy"].where(~cells["base"], "base"), sort=False):
        mean = runs[["learning", "evaluation", "images", "accuracy"]].mean()
        lines.append(
            [
                str(name),
                f"{mean.learning:.2f}",
                f"{mean.evaluation:.2f}",
                f"{mean.images:.0f}",
                f"{100 * mean.accuracy:.1f}",
            ]
        )
    table("", columns, lines)
    if images != bare["images"]:
        print(f"{images} images passed the backbone, expected {bare['images']}: each once.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
