"""One image learned on a device: Move-to-Data by NumPy on an exported head of 1,536 features and 100 classes; under 1 ms.

    python -m benchmarks.ondevice [--model F.onnx]

Peer: the framework's update of the same head by torch, one image at a time. Without a file, tf_efficientnetv2_b3 at 300 px
is trained for a moment on noise, and exported; what it takes for the features of an image is told beside.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.measuring import QUIET, fit, hold_noise, in_memory, machine, start, table
from lightning_vision.deployed.on_device import OnDeviceClassifier
from strategies.move_to_data import move_to_data

CLASSES, SIDE = 100, 300
EPSILON = 0.01


def export(folder: Path) -> Path:
    """An exported classifier of 100 classes."""
    hold_noise(CLASSES, SIDE, classes=CLASSES)
    fit(
        folder, "base", *QUIET, *in_memory(SIDE, 16), "--data.stream=Joint", "--model.strategy=HeadOnly",
        "--model.backbone=tf_efficientnetv2_b3", "--trainer.max_epochs=1",
    )  # fmt: skip
    file = folder / "classifier.onnx"
    start("export", f"--config={folder / 'base' / 'config.yaml'}", f"--ckpt_path={folder / 'base'}", f"--output={file}")
    return file


def milliseconds(repeats: int, work: Callable[[int], object]) -> list[float]:
    """Time of each call, after twenty that do not count."""
    times = []
    for repeat in range(-20, repeats):
        begun = time.perf_counter()
        work(repeat)
        times.append(1000 * (time.perf_counter() - begun))
    return times[20:]


def measure(classifier: OnDeviceClassifier, repeats: int) -> list[list[str]]:
    """A row for each thing that is done with an image."""
    names, (count, size) = classifier.class_names, classifier.head.weight.shape
    generator = np.random.default_rng(0)
    features = generator.normal(size=(1000, size)).clip(0).astype(np.float32)
    labels = generator.integers(0, count, 1000)
    weight, vectors, classes = torch.from_numpy(classifier.head.weight).float(), torch.from_numpy(features), torch.from_numpy(labels)  # fmt: skip
    side = classifier.model.facts.preprocessing.image_size
    image = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
    works: dict[str, tuple[int, str, Callable[[int], object]]] = {
        "`learn`, its features given": (repeats, "1", lambda n: classifier.learn(features[n], names[labels[n]], EPSILON)),
        "the framework's `move_to_data`, a batch of one": (
            repeats, "", lambda n: move_to_data(weight, vectors[n : n + 1 or None], classes[n : n + 1 or None], EPSILON),
        ),
        "`features`, by ONNX Runtime": (repeats // 20, "", lambda n: classifier.features(image)),
        "`save`, with fsync": (repeats // 20, "", lambda n: classifier.save()),
    }  # fmt: skip
    rows = []
    for what, (times, limit, work) in works.items():
        found = milliseconds(times, work)
        rows.append([what, f"{np.median(found):.3f}", f"{np.percentile(found, 99):.3f}", f"{np.max(found):.3f}", limit])
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--repeats", type=int, default=900, help="at most 1000")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # A copy, because what is learned here is not needed.
        file = Path(shutil.copy(options.model, folder)) if options.model else export(Path(folder))
        device = OnDeviceClassifier(file)
        shape = " x ".join(map(str, device.head.weight.shape))
        table(
            f"{machine('onnxruntime')}, NumPy {np.__version__}; {device.model.facts.backbone}, head {shape}",
            ["one image", "median, ms", "99 %", "slowest", "at most"],
            measure(device, options.repeats),
        )
