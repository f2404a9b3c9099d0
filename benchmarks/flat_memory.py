"""What is kept of the past: does a process stay as small, and its checkpoint, once the memory of the past is full?

    python -m benchmarks.flat_memory

Replay, EWC and DarkExperienceReplay over 200 experiences of a few tiny images, each in a process of its own. RSS is that of
the process after an experience; a checkpoint is the file of that experience; the strategy's state is the bytes of its buffers
in it. The memory of 100 images is full after 25 experiences.
"""

import argparse
import multiprocessing
import os
import tempfile
from pathlib import Path

import psutil

from benchmarks.measuring import QUIET, after_each_experience, fit, machine, table
from lightning_vision.learning.checkpoints import read_checkpoint
from lightning_vision.results.schema import Results

MEMORY = 100
STRATEGIES = {
    "Replay": ["--model.strategy=Replay", f"--model.strategy.memory_size={MEMORY}"],
    "EWC": ["--model.strategy=EWC"],
    "DarkExperienceReplay": ["--model.strategy=DarkExperienceReplay", f"--model.strategy.memory_size={MEMORY}"],
}


def grow(strategy: str, experiences: int, at: list[int]) -> list[tuple[int, int]]:
    """Bytes of RSS and of the checkpoint after some of the experiences; then those of the state, twice the last ones."""
    os.environ["LONG_STREAM_EXPERIENCES"] = str(experiences)
    process, marks = psutil.Process(), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)

        def mark(results: Results) -> None:
            count = len(results.experiences)
            if count in at:
                file = folder / "run" / "checkpoints" / f"experience={count - 1:04d}.ckpt"
                marks.append((process.memory_info().rss, file.stat().st_size))

        with after_each_experience(mark):
            fit(
                folder, "run", *QUIET, "--data=benchmarks.long_stream.Noise", "--data.root=.", "--data.num_workers=0",
                "--data.image_size=32", "--data.val_fraction=0", "--data.batch_size=4", "--data.stream=InstanceIncremental",
                f"--data.stream.experiences={experiences}", f"--data.stream.base_fraction={1 / experiences}",
                "--model.backbone=test_resnet", "--trainer.max_epochs=1", *STRATEGIES[strategy],
            )  # fmt: skip
        last = folder / "run" / "checkpoints" / f"experience={experiences - 1:04d}.ckpt"
        state = read_checkpoint(last)["state_dict"]
        size = sum(
            value.numel() * value.element_size() for name, value in state.items() if name.startswith("strategy.")
        )
    return [*marks, (size, size)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiences", type=int, default=200)
    parser.add_argument("--at", type=int, nargs="+", help="default: after a quarter, half and all of them")
    parser.add_argument("--strategy", nargs="+", choices=list(STRATEGIES), default=list(STRATEGIES))
    options = parser.parse_args()
    at = options.at or [options.experiences // 4, options.experiences // 2, options.experiences]
    rows = []
    for strategy in options.strategy:
        # Spawned: what one strategy leaves behind must not be what the next begins with.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            *marks, (state, _) = pool.apply(grow, (strategy, options.experiences, at))
        rss, files = [mark[0] for mark in marks], [mark[1] for mark in marks]
        rows.append(
            [
                strategy, *(f"{size / 2**20:.0f}" for size in rss), f"{100 * (rss[-1] / rss[0] - 1):+.1f} %",
                *(f"{size:,}" for size in files), f"{files[-1] - files[0]:+,}", f"{state:,}",
            ]
        )  # fmt: skip
    columns = [
        "strategy", *(f"RSS after {t}, MiB" for t in at), "growth", *(f"checkpoint after {t}, bytes" for t in at), "growth",
        "the strategy's state, bytes",
    ]  # fmt: skip
    table(f"flat memory, {options.experiences} experiences of 4 images: {machine('timm')}", columns, rows)
