"""Shared parts of the benchmarks: images, runs of the program, Avalanche's loop, alternating measurements, tables."""

import contextlib
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import pandas as pd
import timm
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom
from torch.utils.data import DataLoader, TensorDataset

from lightning_vision.cli import main
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.learning.backbones import build_backbone
from lightning_vision.learning.checkpoints import read_checkpoint
from lightning_vision.learning.network import Network
from lightning_vision.results.schema import Results, read_results
from lightning_vision.tracking.progress import StreamProgress

T = TypeVar("T")
CPU = ("--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.enable_progress_bar=false")
QUIET = (*CPU, "--wandb.mode=disabled", "--energy.enabled=false")
"""A peer measures no energy and writes no record, so ours does neither when compared with it."""


# ---- data ------------------------------------------------------------------------------------------------------------


def make_images(folder: Path, count: int, seed: int = 0) -> None:
    """JPEG of 256 x 256 in ten classes, random crops of two photographs: the class is the photograph and the region.

    No two are equal: features of equal images would be computed only once.
    """
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images().images
    generator = np.random.default_rng(seed)
    places = {label: generator.permutation(60 * (427 - 256)) for label in range(10)}
    for number in range(count):
        label = number % 10
        photograph = photographs[label % 2]
        top, left = (int(value) for value in divmod(places[label][number // 10], 60))
        left += 60 * (label // 2)
        crop = Image.fromarray(photograph[top : top + 256, left : left + 256])
        path = folder / f"class {label}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        crop.save(path, quality=90)


class InMemory(StreamDataModule):
    """The images of ``hold``, without augmentation."""

    images: ClassVar[Tensor]  # uint8 (N, 3, H, W), those for training first
    labels: ClassVar[Tensor]  # (N,)
    trained: ClassVar[int]
    """Number of images for training; the others are for testing."""

    @classmethod
    def hold(cls, images: Tensor, labels: Tensor, test_images: Tensor, test_labels: Tensor) -> None:
        """Set the images of all later instances."""
        cls.images, cls.labels = torch.cat([images, test_images]), torch.cat([labels, test_labels])
        cls.trained = len(labels)

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """A table without files."""
        count = len(self.labels)
        split = ["train"] * self.trained + ["test"] * (count - self.trained)
        table = pd.DataFrame({"path": [str(row) for row in range(count)], "label": self.labels.numpy(), "split": split})
        return table, [f"class {label}" for label in range(int(self.labels.max()) + 1)]

    def load_image(self, index: int) -> Tensor:
        """From memory."""
        return self.images[index]

    def default_train_transforms(self) -> list[nn.Module]:
        """None."""
        return [nn.Identity()]

    def default_eval_transforms(self) -> list[nn.Module]:
        """None."""
        return [nn.Identity()]


def hold_noise(count: int, size: int, classes: int = 10, test_count: int | None = None, seed: int = 0) -> None:
    """Let ``InMemory`` serve noise: for questions of time alone."""
    generator = torch.Generator().manual_seed(seed)
    tests = classes if test_count is None else test_count
    images = torch.randint(0, 256, (count + tests, 3, size, size), dtype=torch.uint8, generator=generator)
    labels = torch.arange(count + tests) % classes
    InMemory.hold(images[:count], labels[:count], images[count:], labels[count:])


# ---- runs of the program ---------------------------------------------------------------------------------------------


def start(*words: str) -> None:
    """Run the program in this process; its output goes to stderr, so that stdout has only the table."""
    with contextlib.redirect_stdout(sys.stderr):
        code = main([*words])
    if code:
        raise SystemExit(f"{' '.join(words)} ended with {code}")


def fit(folder: Path, name: str, *options: str) -> Results:
    """A run that must succeed."""
    start("fit", f"--trainer.default_root_dir={folder}", f"--run_name={name}", "--model.pretrained=false", *options)
    return read_results(folder / name / "results.json")


def in_memory(size: int, batch_size: int) -> list[str]:
    """Options for ``InMemory``."""
    return [
        "--data=benchmarks.measuring.InMemory", "--data.root=.", "--data.num_workers=0", "--data.val_fraction=0", "--data.on_leak=warn",
        f"--data.image_size={size}", f"--data.batch_size={batch_size}",
    ]  # fmt: skip


def photo_options(backbone: str, size: int) -> list[str]:
    """Options for images of ``make_images`` and a backbone."""
    return [
        *QUIET,
        "--data=ImageFolder",
        "--data.on_leak=warn",
        f"--data.image_size={size}",
        f"--model.backbone={backbone}",
    ]


def train_base(folder: Path, backbone: str, size: int) -> Path:
    """The checkpoint of a network that was fully fine-tuned for a moment, on other images of the same classes.

    The features of a frozen backbone with random weights are useless.
    """
    make_images(folder / "base images", 200, seed=1)
    fit(
        folder, "base", *photo_options(backbone, size), f"--data.root={folder / 'base images'}", "--data.stream=Joint",
        "--model.strategy=FullFineTune", "--trainer.max_epochs=4", "--data.batch_size=16",
    )  # fmt: skip
    return folder / "base" / "checkpoints" / "experience=0000.ckpt"


def network_of(checkpoint: Path, backbone: str, size: int) -> Network:
    """The network of a checkpoint as anyone would build it: contiguous, in evaluation mode."""
    prefix, state = "network.", read_checkpoint(checkpoint)["state_dict"]
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    module, facts = build_backbone(backbone, pretrained=False, image_size=size)
    network = Network(module, facts, len(own["seen"])).eval()
    network.load_state_dict(own)
    return network


class EpochClock(Callback):
    """Times each epoch between its first and last batch, including what is written in between."""

    seconds: ClassVar[list[float]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start."""
        self.begun = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop at the last batch."""
        if trainer.is_last_batch:
            self.seconds.append(time.perf_counter() - self.begun)


def usual_epochs(backbone: str, batch: int, epochs: int, classes: int = 10) -> list[float]:
    """Seconds of each epoch of the loop that everyone writes, on the training images of ``InMemory``."""
    torch.manual_seed(0)
    model = timm.create_model(backbone, num_classes=classes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    data = TensorDataset(InMemory.images[: InMemory.trained], InMemory.labels[: InMemory.trained])
    loader = DataLoader(data, batch_size=batch, shuffle=True)
    seconds = []
    for _ in range(epochs):
        begun = time.perf_counter()
        for image, label in loader:
            loss = F.cross_entropy(model((image / 255 - mean) / std), label)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        seconds.append(time.perf_counter() - begun)
    return seconds


@contextlib.contextmanager
def after_each_experience(call: Callable[[Results], None]) -> Iterator[None]:
    """Call something whenever a run has finished an experience."""
    shown = StreamProgress.experience_done

    def note(self: StreamProgress, results: Results) -> None:
        shown(self, results)
        call(results)

    StreamProgress.experience_done = note  # type: ignore[method-assign]
    try:
        yield
    finally:
        StreamProgress.experience_done = shown  # type: ignore[method-assign]


# ---- Avalanche -------------------------------------------------------------------------------------------------------


def avalanches_loop(model: nn.Module, optimizer: torch.optim.Optimizer, **options: Any) -> Any:
    """Avalanche's Naive, which evaluates accuracy and shows nothing."""
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.training import Naive
    from avalanche.training.plugins import EvaluationPlugin

    evaluator = EvaluationPlugin(accuracy_metrics(experience=True, stream=True), loggers=[])
    return Naive(model=model, optimizer=optimizer, criterion=nn.CrossEntropyLoss(), evaluator=evaluator, **options)


def stream_accuracy(metrics: Mapping[str, Any]) -> float:
    """The accuracy over a whole stream among the figures of Avalanche's ``eval``."""
    return float(next(value for name, value in metrics.items() if name.startswith("Top1_Acc_Stream/eval_phase")))


# ---- measuring -------------------------------------------------------------------------------------------------------


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds of a call, and its result."""
    begun = time.perf_counter()
    given = work()
    return time.perf_counter() - begun, given


def in_turn(sides: Mapping[str, Callable[[int], T]], repeats: int) -> dict[str, list[T]]:
    """The result of each side for each repeat; the sides take turns to start, so that a slow minute favours neither."""
    found: dict[str, list[T]] = {name: [] for name in sides}
    for repeat in range(repeats):
        for name in sorted(sides, key=list(sides).index, reverse=repeat % 2 == 1):
            print(f"repeat {repeat + 1} of {repeats}: {name}", file=sys.stderr, flush=True)
            found[name].append(sides[name](repeat))
    return found


def ratios(theirs: Sequence[float], ours: Sequence[float]) -> list[float]:
    """How many times faster ours is, pair by pair."""
    return [their / our for their, our in zip(theirs, ours, strict=True)]


# ---- texts -----------------------------------------------------------------------------------------------------------


def cpu_capabilities() -> dict[str, Any]:
    """What torch knows of the CPU; nothing where its version cannot tell."""
    known = getattr(torch.cpu, "get_capabilities", None)
    return dict(known()) if known else {}


def has_bf16() -> bool:
    """Whether the CPU has instructions for bfloat16."""
    known = cpu_capabilities()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def machine(*packages: str) -> str:
    """Hardware and versions, for the line above a table."""
    cpu = cpu_capabilities()
    name = cpu.get("cpu_name") or platform.processor() or platform.machine()
    fast = [instructions for instructions in ("avx512_bf16", "amx_bf16") if cpu.get(instructions)]
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in ("torch", "lightning", *packages))
    bf16 = f" ({', '.join(fast) or 'no bfloat16'})"
    return f"{name}{bf16}, {os.cpu_count()} cores{gpu}, Python {platform.python_version()}, {versions}"


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median and extremes."""
    return f"{np.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(above: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table with a line above."""
    lines = [columns, ["---"] * len(columns), *rows]
    print("\n".join([above, "", *(f"| {' | '.join(line)} |" for line in lines), ""]), flush=True)
