"""Full fine-tuning on a CPU: the shipped defaults, and the bfloat16 preset, against the loop that everyone writes.

    python -m benchmarks.fine_tune

The usual loop is float32 and contiguous. Ours is ``fit`` with its defaults (channels-last), and with configs/trainer/bf16_cpu.yaml
if the CPU has the instructions; W&B offline, metrics.csv, energy and everything else that a run does during training are on.
Both have the same network, images of noise in memory, batch size and AdamW. An epoch is timed from its first to its last
batch; the first one of each run warms up.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measuring import (
    CPU,
    EpochClock,
    fit,
    has_bf16,
    hold_noise,
    in_memory,
    in_turn,
    machine,
    ratios,
    spread,
    table,
    usual_epochs,
)
from lightning_vision.program.shipped_configs import config_folder

WANTED = {"float32, as shipped": "1.15", "bfloat16, the preset": "2"}
PRESET = config_folder() / "trainer" / "bf16_cpu.yaml"


def usual(backbone: str, options: argparse.Namespace, _: int) -> float:
    """Seconds of an epoch of the usual loop."""
    return float(np.median(usual_epochs(backbone, options.batch, options.epochs + 1)[1:]))


def ours(backbone: str, options: argparse.Namespace, folder: Path, more: Sequence[str], _: int) -> float:
    """The same of a run."""
    EpochClock.seconds.clear()
    fit(
        folder, f"run{len(list(folder.iterdir()))}", *in_memory(options.size, options.batch), "--data.stream=Joint",
        f"--model.backbone={backbone}", "--model.strategy=FullFineTune", f"--trainer.max_epochs={options.epochs + 1}",
        "--trainer.callbacks+=benchmarks.measuring.EpochClock", *more,
    )  # fmt: skip
    return float(np.median(EpochClock.seconds[1:]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", nargs="+", default=["resnet18", "mobilenetv2_100"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=6, help="of an epoch")
    parser.add_argument("--epochs", type=int, default=1, help="that are timed in each run")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    hold_noise(options.batch * options.batches, options.size)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for backbone in options.backbone:
            kinds: dict[str, tuple[str, ...]] = {"float32, as shipped": CPU}
            if has_bf16():
                kinds["bfloat16, the preset"] = (f"--config={PRESET}", "--trainer.enable_progress_bar=false")
            sides: dict[str, Callable[[int], float]] = {"usual": partial(usual, backbone, options)}
            for kind, more in kinds.items():
                sides[kind] = partial(ours, backbone, options, Path(temporary), more)
            found = in_turn(sides, options.repeats)
            images = options.batch * options.batches
            for kind in kinds:
                rates = [f"{images / np.median(found[side]):.1f}" for side in (kind, "usual")]
                rows.append([f"{backbone}, {kind}", *rates, spread(ratios(found["usual"], found[kind])), WANTED[kind]])
    about = f"full fine-tune at {options.size} px, batch {options.batch}, {options.repeats} repeats; {machine('timm')}"
    table(about, ["what", "ours, images/s", "usual loop", "ratio: median (extremes)", "wanted"], rows)
