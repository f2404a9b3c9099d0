"""FullFineTune and Replay against Avalanche's Naive and Replay: time, accuracy, and the images that evaluation takes.

    python -m benchmarks.against_avalanche
    python -m benchmarks.against_avalanche --parts accuracy --selections reservoir class_balanced

- time: resnet18 at 64 px on noise, class-incremental, 5 experiences, the whole test set after each. "Learning" is what the
  record calls so, against Avalanche's ``train``; "in all" is the whole of ``fit`` against training and ``eval``.
- accuracy: Replay on scikit-learn's digits at 32 px, 2 classes an experience, on the whole test set at the end, with seeds of
  their own for weights, order and memory.
- passes: the images through the network to test 20 experiences after each. Avalanche is counted on one test set that all
  experiences share, which it goes through for each, and on the parts that ours deals it out to, which say less each.

Same network and starting distribution, SGD, batch, epochs; Avalanche's head masks the classes to come, as ours does. Energy
and W&B are off, as the peer has neither. Images lie in memory, for Avalanche as normalised floats.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from benchmarks.measuring import (
    QUIET,
    InMemory,
    avalanches_loop,
    fit,
    hold_noise,
    in_memory,
    in_turn,
    machine,
    ratios,
    spread,
    stream_accuracy,
    table,
    timed,
)
from lightning_vision.array_types import Rows
from lightning_vision.data.scenarios import ClassIncremental, InstanceIncremental, Scenario
from lightning_vision.results.schema import Results

BATCH, RATE = 32, 0.03
POLICIES = {"reservoir": "ReservoirSamplingBuffer", "class_balanced": "ClassBalancedBuffer"}
Learned = tuple[float, float, float]
"""Seconds of learning, seconds in all, accuracy on the whole test set at the end."""
Sides = dict[str, Callable[[int], tuple[Learned, object]]]
NAIVE = ["--model.strategy=FullFineTune"]


class AvalanchesNetwork(nn.Module):
    """A backbone with Avalanche's own head for classes that come one after the other."""

    def __init__(self, backbone: str) -> None:
        from avalanche.models import IncrementalClassifier

        super().__init__()
        self.backbone = timm.create_model(backbone, num_classes=0)
        self.head = IncrementalClassifier(self.backbone.num_features, initial_out_features=1, masking=True)
        self.tested = 0
        """Images that went through it in evaluation mode."""

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, C)."""
        if not self.training:
            self.tested += len(image)
        logits: Tensor = self.head(self.backbone(image))
        return logits


def avalanches_data(size: int, scenario: Scenario, shared: bool = False) -> Any:
    """The same experiences and test parts as ours; or, ``shared``, the whole test set for every experience."""
    from avalanche.benchmarks import tensors_benchmark

    data = InMemory(".", num_workers=0, val_fraction=0, image_size=size, stream=scenario, on_leak="warn")
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def part(rows: Rows) -> tuple[Tensor, Tensor]:
        index = torch.tensor(rows)
        return (InMemory.images[index] / 255 - mean) / std, InMemory.labels[index]

    tests = [data.rows_to_evaluate("test") if shared else experience.test_indices for experience in data.stream]
    train = [part(experience.indices) for experience in data.stream]
    return tensors_benchmark(train, [part(rows) for rows in tests], task_labels=[0] * len(train))


def theirs(backbone: str, stream: Any, epochs: int, plugins: Callable[[], list[Any]], seed: int) -> tuple[Learned, int]:
    """Avalanche's Naive with plugins: what it took and learned, and the images it tested."""
    torch.manual_seed(seed)
    model = AvalanchesNetwork(backbone)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    sizes = {"train_mb_size": BATCH, "eval_mb_size": BATCH, "train_epochs": epochs}
    loop = avalanches_loop(model, optimizer, plugins=plugins(), **sizes)
    learning = testing = 0.0
    for experience in stream.train_stream:
        learning += timed(partial(loop.train, experience))[0]
        seconds, metrics = timed(partial(loop.eval, stream.test_stream))
        testing += seconds
    return (learning, learning + testing, stream_accuracy(metrics)), model.tested


def replay(selection: str, memory: int) -> list[Any]:
    """Avalanche's Replay with the policy that is ours."""
    from avalanche.training import storage_policy
    from avalanche.training.plugins import ReplayPlugin

    policy = getattr(storage_policy, POLICIES[selection])(max_size=memory)
    return [ReplayPlugin(memory, batch_size=BATCH, batch_size_mem=BATCH, storage_policy=policy)]


def ours(
    folder: Path, backbone: str, size: int, epochs: int, options: Sequence[str], seed: int
) -> tuple[Learned, Results]:
    """A run of the program."""
    seconds, results = timed(
        lambda: fit(
            folder, f"run{len(list(folder.iterdir()))}", *QUIET, *in_memory(size, BATCH), f"--model.backbone={backbone}",
            f"--trainer.max_epochs={epochs}", "--model.optimizer=torch.optim.SGD", f"--model.optimizer.lr={RATE}",
            f"--seed_everything={seed}", *options,
        )
    )  # fmt: skip
    learning = sum(record.seconds for record in results.experiences)
    return (learning, seconds, results.test_accuracy[-1] or 0.0), results


def class_incremental(experiences: int) -> list[str]:
    """Options of the stream."""
    return ["--data.stream=ClassIncremental", f"--data.stream.experiences={experiences}"]


def our_replay(selection: str, memory: int) -> list[str]:
    """Options of the strategy."""
    return [
        "--model.strategy=Replay", f"--model.strategy.memory_size={memory}", f"--model.strategy.selection={selection}",
        f"--model.strategy.memory_batch_size={BATCH}",
    ]  # fmt: skip


def compare_times(options: argparse.Namespace, folder: Path, about: str) -> None:
    """A row for each of two strategies."""
    hold_noise(options.images, options.size, 10, test_count=options.images // 5)
    stream = avalanches_data(options.size, ClassIncremental(experiences=5))
    ours(folder, options.backbone, options.size, 1, ["--data.stream=Joint", *NAIVE], seed=0)  # warms up
    rows = []
    for name, strategy, plugins in (
        ("FullFineTune / Naive", NAIVE, list),
        ("Replay / Replay", our_replay("reservoir", 200), partial(replay, "reservoir", 200)),
    ):
        asked = [*class_incremental(5), *strategy]
        sides: Sides = {
            "ours": partial(ours, folder, options.backbone, options.size, options.epochs, asked),
            "Avalanche": partial(theirs, options.backbone, stream, options.epochs, plugins),
        }
        found = in_turn(sides, options.repeats)
        row = [name]
        for which in (0, 1):
            our, their = ([learned[which] for learned, _ in found[side]] for side in sides)
            row += [f"{np.median(our):.1f}", f"{np.median(their):.1f}", spread(ratios(their, our))]
        rows.append([*row, "0.95"])
    columns = ["ours / Avalanche", "learning, s", "", "ratio", "in all, s", "", "ratio", "wanted"]
    setting = f"time: {options.backbone} at {options.size} px, {options.images} images, {options.epochs} epochs, batch {BATCH}, {options.repeats} repeats"
    table(f"{setting}; {about}", columns, rows)


def hold_digits() -> None:
    """Let ``InMemory`` serve scikit-learn's digits at 32 px, every fifth for testing."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = torch.tensor(digits.images, dtype=torch.float32)[:, None] * (255 / 16)  # (N, 1, 8, 8)
    images = F.interpolate(small, size=32, mode="bilinear").round().clamp(0, 255).to(torch.uint8).repeat(1, 3, 1, 1)
    labels, tested = torch.tensor(digits.target), torch.arange(len(small)) % 5 == 0
    InMemory.hold(images[~tested], labels[~tested], images[tested], labels[tested])


def compare_accuracies(options: argparse.Namespace, folder: Path, about: str) -> None:
    """Replay with either memory, over some seeds."""
    hold_digits()
    stream, epochs = avalanches_data(32, ClassIncremental(experiences=5)), options.replay_epochs
    rows = []
    for selection in options.selections:
        asked = [*class_incremental(5), *our_replay(selection, options.memory)]
        sides: Sides = {
            "ours": partial(ours, folder, "test_resnet", 32, epochs, asked),
            "Avalanche": partial(theirs, "test_resnet", stream, epochs, partial(replay, selection, options.memory)),
        }
        learned = in_turn(sides, options.seeds)
        found = {side: 100 * np.array([accuracy for (*_, accuracy), _ in tries]) for side, tries in learned.items()}
        means = [f"{values.mean():.1f} +- {values.std(ddof=1):.1f}" for values in found.values()]
        deviation = np.sqrt(np.mean([values.var(ddof=1) for values in found.values()]))
        difference = found["ours"].mean() - found["Avalanche"].mean()
        rows.append([f"Replay, {selection}", *means, f"{difference:+.1f}", f"within {deviation:.1f}"])
    columns = ["", "ours, %", "Avalanche, %", "difference of the means", "wanted: the seeds' spread"]
    setting = f"accuracy: test_resnet on digits, memory of {options.memory}, {epochs} epochs, {options.seeds} seeds, mean +- standard deviation"
    table(f"{setting}; {about}", columns, rows)


def count_passes(options: argparse.Namespace, folder: Path, about: str) -> None:
    """Images through the network for testing, not time."""
    count = options.experiences
    hold_noise(4 * count, 32, 4, test_count=10 * count)
    stream = ["--data.stream=InstanceIncremental", f"--data.stream.experiences={count}"]
    _, results = ours(folder, "test_resnet", 32, 1, [*stream, *NAIVE], seed=0)
    tests = 10 * count
    images = sum(record.evaluation.images for record in results.experiences)
    counted = {"ours, the whole test set and its parts": images}
    for name, shared in (("Avalanche, one test set for all", True), ("Avalanche, its parts alone", False)):
        data = avalanches_data(32, InstanceIncremental(experiences=count), shared)
        counted[name] = theirs("test_resnet", data, 1, list, seed=0)[1]
    rows = [[name, str(images), f"{images / count / tests:g}"] for name, images in counted.items()]
    columns = [f"{count} experiences, {tests} test images", "images tested", "test passes after an experience"]
    table(f"evaluation passes, counted; {about}", columns, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"time": compare_times, "accuracy": compare_accuracies, "passes": count_passes}
    parser.add_argument("--parts", nargs="+", choices=list(parts), default=list(parts))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--images", type=int, default=640)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--selections", nargs="+", choices=list(POLICIES), default=["reservoir"])
    parser.add_argument("--replay_epochs", type=int, default=5)
    parser.add_argument(
        "--memory", type=int, default=3 * BATCH, help="best a multiple of the batch: Avalanche draws the rest alone"
    )
    parser.add_argument("--experiences", type=int, default=20)
    options = parser.parse_args()
    about = machine("timm", "avalanche-lib")
    for part in options.parts:
        with tempfile.TemporaryDirectory() as temporary:
            parts[part](options, Path(temporary), about)
