"""Bytes and time of the checkpoints within a stage of a frozen backbone, with and without the frozen weights.

    python -m benchmarks.checkpoints

HeadOnly on noise, random weights, features from the cache. "All weights" is how checkpoints were written before: the same runs,
in which nothing is left out. A checkpoint's time is that of ``Trainer.save_checkpoint``: collecting the state, hashing it,
writing the file and waiting for the disk. The file of the frozen weights is written with the first checkpoint of a run,
which is listed apart. At the end both runs must have equal weights. Set TMPDIR to measure another disk.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from benchmarks.measuring import QUIET, fit, hold_noise, in_memory, in_turn, machine, spread, table
from lightning_vision.learning.checkpoints import find_checkpoint, read_checkpoint
from lightning_vision.learning.frozen_weights import FrozenWeights

SIZE = 224
Written = tuple[int, float, float]
"""Bytes, milliseconds of the clock, milliseconds of the processor."""


class Watched:
    """Stands in for ``Trainer.save_checkpoint``: measures it."""

    def __init__(self) -> None:
        self.save, self.written = Trainer.save_checkpoint, list[Written]()

    def __call__(self, trainer: Trainer, path: Any, *given: Any, **options: Any) -> None:
        """Write a checkpoint."""
        folder = Path(path).parent
        others = {file: file.stat().st_mtime_ns for file in folder.glob("frozen-*.pt")}
        clock, processor = time.perf_counter(), time.process_time()
        self.save(trainer, path, *given, **options)
        taken = (1e3 * (time.perf_counter() - clock), 1e3 * (time.process_time() - processor))
        new = [file for file in folder.glob("frozen-*.pt") if others.get(file) != file.stat().st_mtime_ns]
        self.written.append((sum(file.stat().st_size for file in (Path(path), *new)), *taken))


def all_weights(_: FrozenWeights, checkpoint: dict[str, Any], *, write: bool) -> dict[str, Any]:
    """Leave nothing out."""
    return checkpoint


def measured(backbone: str, epochs: int, repeats: int, folder: Path) -> list[list[str]]:
    """The rows of a backbone."""
    left_out, watched = FrozenWeights.left_out, Watched()

    def run(name: str) -> list[Written]:
        """A base and two increments; returns what was written within their stages."""
        watched.written.clear()
        fit(
            folder, name, *QUIET, *in_memory(SIZE, 8), f"--model.backbone={backbone}", "--model.strategy=HeadOnly",
            "--model.base_strategy=HeadOnly", "--data.views=0", "--data.stream=InstanceIncremental", "--data.stream.experiences=3",
            f"--data.cache_dir={folder / 'cache'}", f"--trainer.max_epochs={epochs}",
        )  # fmt: skip
        return list(watched.written)

    def before(repeat: int) -> list[Written]:
        FrozenWeights.left_out = all_weights  # type: ignore[method-assign, assignment]
        try:
            return run(f"before-{repeat}")
        finally:
            FrozenWeights.left_out = left_out  # type: ignore[method-assign]

    Trainer.save_checkpoint = lambda *given, **named: watched(*given, **named)  # type: ignore[method-assign]
    try:
        run("first")  # computes the features
        found = in_turn({"before": before, "now": lambda repeat: run(f"now-{repeat}")}, repeats)
    finally:
        Trainer.save_checkpoint = watched.save  # type: ignore[method-assign]
    one, other = (read_checkpoint(find_checkpoint(folder / name))["state_dict"] for name in ("before-0", "now-0"))
    if one.keys() != other.keys() or not all(torch.equal(one[name], other[name]) for name in one):
        raise SystemExit("the runs do not have equal weights")
    rows = []
    for side, name in (("before", "all weights"), ("now", "without the frozen ones")):
        first = [written[0] for written in found[side]]
        later = [each for written in found[side] for each in written[1:]]
        for which, values in (("first of a run", first), ("each later one", later)):
            size, clock, processor = ([value[part] for value in values] for part in range(3))
            rows.append([backbone, name, which, f"{max(size) / 1e6:.3f}", spread(clock, 1), spread(processor, 1)])
        total = sum(size for written in found[side] for size, _, _ in written) / repeats
        rows.append([backbone, name, f"all {3 * epochs} of a run", f"{total / 1e6:.1f}", "", ""])
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=["tf_efficientnet_lite0", "vit_small_patch16_224"])
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    hold_noise(options.images, SIZE)
    rows = []
    for backbone in options.backbones:
        with tempfile.TemporaryDirectory() as temporary:
            rows += measured(backbone, options.epochs, options.repeats, Path(temporary))
    about = f"3 experiences of {options.epochs} epochs, {options.repeats} repeats; equal weights at the end; {machine('timm')}"
    table(about, ["", "checkpoints", "", "MB", "ms: median (extremes)", "of the processor"], rows)
