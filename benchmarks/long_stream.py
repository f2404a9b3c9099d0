"""Long streams: does the time per experience stay flat, and memory and disk bounded?

    python -m benchmarks.long_stream --experiences 200 --strategy FullFineTune
    python -m benchmarks.long_stream --experiences 200 --classes 1000 --strategy NearestMean

Each experience holds a few generated images, so that what is measured is the framework's own time: Trainer, loaders,
loggers, evaluation, checkpoints, results. Time is taken from one finished experience to the next; what is outside of learning
and evaluation (results, predictions, checkpoints, loggers) has columns of its own, in seconds of the process's CPU time too,
which other processes on the machine change least.
"""

import argparse
import functools
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pandas as pd
import psutil
import torch
from torch import Tensor

from benchmarks.measuring import CPU, QUIET, after_each_experience, fit, machine
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.results.schema import Results
from lightning_vision.run.experience_learning import ExperienceLearning
from lightning_vision.run.run_evaluation import RunEvaluation


class Noise(StreamDataModule):
    """Images of noise. In four classes: four training images per experience, 100 test images. In more: four and one per class."""

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """A table without files."""
        classes = int(os.environ.get("LONG_STREAM_CLASSES", "4"))
        few = classes == 4
        count = 4 * (int(os.environ["LONG_STREAM_EXPERIENCES"]) if few else classes)
        split = ["train"] * count + ["test"] * (100 if few else classes)
        labels = np.arange(len(split)) % classes
        table = pd.DataFrame({"path": [f"{row}" for row in range(len(split))], "label": labels, "split": split})
        return table, ["a", "b", "c", "d"] if few else [f"class {label:04d}" for label in range(classes)]

    def load_image(self, index: int) -> Tensor:
        """Noise that depends on the row alone."""
        generator = torch.Generator().manual_seed(index)
        return torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=generator)


class Clock:
    """Wall and CPU seconds of this process, apart from those within some functions."""

    def __init__(self) -> None:
        self.within = np.zeros(2)

    @staticmethod
    def now() -> npt.NDArray[np.float64]:
        """(2,) wall and CPU seconds."""
        return np.array([time.perf_counter(), time.process_time()])

    def outside(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function; its time is not counted."""

        @functools.wraps(function)
        def timed(*args: Any, **options: Any) -> Any:
            begun = self.now()
            try:
                return function(*args, **options)
            finally:
                self.within += self.now() - begun

        return timed


def run(experiences: int, classes: int, strategy: str, folder: Path, telling: bool) -> None:
    """One stream; prints its row of the table."""
    os.environ["LONG_STREAM_EXPERIENCES"], os.environ["LONG_STREAM_CLASSES"] = str(experiences), str(classes)
    process, clock = psutil.Process(), Clock()
    times: list[npt.NDArray[np.float64]] = []  # (4,) wall and CPU seconds, then those outside learning and evaluation
    sizes: list[tuple[int, int]] = []

    def note(results: Results) -> None:
        checkpoints = sum(path.stat().st_size for path in folder.rglob("checkpoints/*.ckpt"))
        sizes.append((process.memory_info().rss, checkpoints))
        times.append(np.concatenate([now := clock.now(), now - clock.within]))

    if classes == 4:
        stream = ["--data.stream=InstanceIncremental", f"--data.stream.base_fraction={1 / experiences}"]
    else:
        stream = ["--data.stream=ClassIncremental"]
    with (
        after_each_experience(note),
        patch.object(ExperienceLearning, "learn", clock.outside(ExperienceLearning.learn)),
        patch.object(RunEvaluation, "evaluate", clock.outside(RunEvaluation.evaluate)),
    ):
        fit(
            folder, f"{strategy}-{experiences}", *(CPU if telling else QUIET), "--data=benchmarks.long_stream.Noise",
            "--data.root=.", "--data.num_workers=0", "--data.image_size=32", "--data.val_fraction=0",
            f"--data.batch_size={4 if classes == 4 else 32}", *stream, f"--data.stream.experiences={experiences}",
            "--model.backbone=test_resnet", f"--model.strategy={strategy}",
            *(["--model.strategy.epsilon=0.001"] if strategy == "MoveToData" else []), "--trainer.max_epochs=1",
        )  # fmt: skip
    spent = np.diff(times, axis=0)  # (T - 1, 4)
    tenth = max(5, experiences // 10)
    first, last = np.median(spent[:tenth], axis=0), np.median(spent[-tenth:], axis=0)  # (4,)
    early, late = sizes[tenth][0], sizes[-1][0]
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    columns = [f"{1000 * a:.0f} | {1000 * b:.0f} | {b / a:.2f}" for a, b in zip(first, last, strict=True)]
    print(
        f"| {strategy} | {experiences} | {classes} | {columns[0]} | {columns[2]} | {columns[3]} | {early / 2**20:.0f} "
        f"| {late / 2**20:.0f} | {100 * (late - early) / early:+.1f} % | {sizes[-1][1] / 2**20:.1f} | {size / 2**20:.1f} |",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiences", type=int, nargs="+", default=[200])
    parser.add_argument("--classes", type=int, default=4, help="more than 4: class by class, four training images each")
    parser.add_argument("--strategy", nargs="+", default=["FullFineTune"])
    parser.add_argument("--quiet", action="store_true", help="without W&B and CodeCarbon")
    options = parser.parse_args()
    print(f"{machine()}; CSV, {'neither W&B nor CodeCarbon' if options.quiet else 'W&B offline, CodeCarbon on'}")
    rows = [(count, strategy) for count in options.experiences for strategy in options.strategy]
    names = [
        "strategy", "experiences", "classes", "first tenth, ms", "last tenth, ms", "last/first", "outside learning and evaluation: first, ms",
        "last, ms", "last/first", "CPU outside: first, ms", "last, ms", "last/first", "RSS early, MiB", "RSS end", "growth",
        "checkpoints, MiB", "run, MiB",
    ]  # fmt: skip
    for number, (count, strategy) in enumerate(rows):
        with tempfile.TemporaryDirectory() as temporary:
            if number == 0:
                print(f"| {' | '.join(names)} |\n" + "|---" * len(names) + "|")
            run(count, options.classes, strategy, Path(temporary), telling=not options.quiet)
