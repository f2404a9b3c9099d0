"""The price of the loop: full fine-tuning of resnet18 at 64 px in batches of 32, against a bare PyTorch loop.

    python benchmarks/step_overhead.py --repeats 5

Both train the same network on the same pictures in memory, forward, backward and AdamW step; ours with W&B offline,
metrics.csv and everything else that a run does while it trains. The two take turns, and the ratio is taken pair by pair.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import timm
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom
from torch.utils.data import DataLoader, TensorDataset

from lightning_vision.cli import main
from lightning_vision.datamodule import StreamDataModule

BATCH, BATCHES, SIZE, CLASSES = 32, 40, 64, 10
PICTURES = torch.randint(0, 256, (BATCH * BATCHES, 3, SIZE, SIZE), dtype=torch.uint8)
LABELS = torch.arange(len(PICTURES)) % CLASSES
TIMES: list[float] = []


class InMemory(StreamDataModule):
    """Pictures in memory, no augmentation."""

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """A table without files; one test picture a class."""
        count = len(PICTURES)
        split = ["train"] * count + ["test"] * CLASSES
        labels = [*LABELS.tolist(), *range(CLASSES)]
        return pd.DataFrame({"path": [str(n) for n in range(count + CLASSES)], "label": labels, "split": split}), list(
            "abcdefghij"
        )

    def load_image(self, index: int) -> Tensor:
        """From memory."""
        return PICTURES[index % len(PICTURES)]

    def default_train_transforms(self) -> list[nn.Module]:
        """None."""
        return [nn.Identity()]

    def default_eval_transforms(self) -> list[nn.Module]:
        """None."""
        return [nn.Identity()]


class EpochClock(Callback):
    """Times each epoch between its first and last batch, what is written in between included."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start."""
        self.started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop at the last batch."""
        if trainer.is_last_batch:
            TIMES.append(time.perf_counter() - self.started)


def ours(folder: Path, name: str, epochs: int) -> list[float]:
    """Seconds of each epoch in a run."""
    TIMES.clear()
    code = main(
        [
            "fit", "--data", "__main__.InMemory", "--data.root", ".", "--data.num_workers", "0", "--data.val_fraction", "0",
            f"--data.image_size={SIZE}", f"--data.batch_size={BATCH}", "--data.stream", "Joint", "--model.backbone", "resnet18",
            "--model.pretrained", "false", "--model.strategy", "FullFineTune", f"--trainer.max_epochs={epochs}",
            "--trainer.accelerator", "cpu", "--trainer.callbacks+=__main__.EpochClock", "--trainer.enable_progress_bar", "false",
            f"--trainer.default_root_dir={folder}", "--run_name", name,
        ]
    )  # fmt: skip
    if code:
        raise SystemExit(code)
    return list(TIMES)


def bare(epochs: int) -> list[float]:
    """Seconds of each epoch of the loop that everyone writes."""
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=CLASSES)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    loader = DataLoader(TensorDataset(PICTURES, LABELS), batch_size=BATCH, shuffle=True)
    times = []
    for _ in range(epochs):
        started = time.perf_counter()
        for image, label in loader:
            loss = F.cross_entropy(model((image / 255 - mean) / std), label)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        times.append(time.perf_counter() - started)
    return times


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    ratios, rates = [], []
    with tempfile.TemporaryDirectory() as temporary:
        for repeat in range(options.repeats):
            # The first epoch of each warms up.
            a, b = ours(Path(temporary), f"run{repeat}", 3)[1:], bare(3)[1:]
            rates.append((len(PICTURES) / np.median(a), len(PICTURES) / np.median(b)))
            ratios.append(rates[-1][0] / rates[-1][1])
    print(f"{os.cpu_count()} cores, torch {torch.__version__}, {options.repeats} repeats")
    print("| | images/s, median | ratio to the bare loop: median (min to max) |\n|---|---|---|")
    print(
        f"| lightning_vision | {np.median([r[0] for r in rates]):.1f} | {np.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}) |"
    )
    print(f"| bare loop | {np.median([r[1] for r in rates]):.1f} | 1 |")
