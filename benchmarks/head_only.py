"""A head trained on a frozen backbone: HeadOnly for 10 epochs against Avalanche's Naive with the same frozen backbone.

    python -m benchmarks.head_only

Five experiences, the test part of each evaluated after each; same images, decoded by the same code, same starting weights,
optimizer (AdamW, 1e-3), batch, epochs, and no augmentation on either side. Ours is the whole of ``fit`` with an empty
feature cache, without the inspection of the data, which all strategies share. Theirs is training and evaluation only. Energy
and W&B are off, because the peer has neither. The base is fully fine-tuned on other images of the same classes, so that its
features are useful.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from benchmarks.measuring import (
    avalanches_loop,
    fit,
    in_turn,
    machine,
    make_images,
    network_of,
    photo_options,
    ratios,
    spread,
    start,
    stream_accuracy,
    table,
    timed,
    train_base,
)
from datamodules import ImageFolder
from lightning_vision.array_types import Rows
from lightning_vision.data.batch_order import Draw
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.scenarios import InstanceIncremental
from lightning_vision.learning.network import Network, freeze

EXPERIENCES = 5


class Images(Dataset[tuple[Tensor, int]]):
    """Rows of a datamodule, decoded and prepared for evaluation as ours are; normalised one by one, by the workers."""

    def __init__(self, data: StreamDataModule, rows: Rows, network: Network) -> None:
        self.source, self.rows = data.image_dataset(), rows
        self.mean, self.std = network.mean.clone(), network.std.clone()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        item = self.source[Draw(int(self.rows[place]), 0, -1, valid=True, memory=False)]
        return (item["image"] / 255 - self.mean) / self.std, item["label"]


def avalanches_stream(data: StreamDataModule, network: Network) -> Any:
    """The same experiences and test parts."""
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import as_taskaware_classification_dataset as theirs

    return benchmark_from_datasets(
        train=[theirs(Images(data, experience.indices, network)) for experience in data.stream],
        test=[theirs(Images(data, experience.test_indices, network)) for experience in data.stream],
    )


class Frozen(nn.Module):
    """A network of which the head alone is trained."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.backbone, self.head = network.backbone, network.head
        freeze(self.backbone)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, C) of normalised images (N, 3, H, W)."""
        logits: Tensor = self.head(self.backbone(image))
        return logits

    def train(self, mode: bool = True) -> "Frozen":
        """Avalanche sets the mode of the whole network, but running statistics must not change."""
        super().train(mode)
        self.backbone.eval()
        return self


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_images(folder / "images", options.images)
        checkpoint = train_base(folder, options.backbone, options.size)
        shared = [*photo_options(options.backbone, options.size), "--data.val_fraction=0"]
        root = f"--data.root={folder / 'images'}"
        data = ImageFolder(
            str(folder / "images"), image_size=options.size, val_fraction=0, on_leak="warn",
            stream=InstanceIncremental(experiences=EXPERIENCES, base_fraction=0),
        )  # fmt: skip

        def ours(repeat: int) -> tuple[float, float]:
            """Seconds, and the accuracy on all test images at the end."""
            cache = f"--data.cache_dir={folder / f'cache-{repeat}'}"
            start("data", "--data=ImageFolder", root, cache, f"--output={folder / 'data.html'}")
            seconds, results = timed(
                lambda: fit(
                    folder, f"head-{repeat}", *shared, root, cache, "--data.stream=InstanceIncremental",
                    f"--data.stream.experiences={EXPERIENCES}", "--data.stream.base_fraction=0", "--data.views=0",
                    "--model.strategy=HeadOnly", f"--model.base_checkpoint={checkpoint}",
                    f"--trainer.max_epochs={options.epochs}", f"--seed_everything={repeat}",
                )
            )  # fmt: skip
            accuracy = results.test_accuracy[-1]
            if accuracy is None or results.features is None or not results.features.cached or results.features.reused:
                raise SystemExit(f"the features were not computed once: {results.features}")
            return seconds, accuracy

        def theirs(repeat: int) -> tuple[float, float]:
            """The same of Avalanche."""
            network = network_of(checkpoint, options.backbone, options.size)
            stream = avalanches_stream(data, network)
            torch.manual_seed(repeat)
            model = Frozen(network)
            optimizer = torch.optim.AdamW(model.head.parameters(), lr=1e-3)
            loop = avalanches_loop(
                model,
                optimizer,
                train_mb_size=data.batch_size,
                train_epochs=options.epochs,
                eval_mb_size=data.batch_size,
            )

            def learn() -> float:
                for experience in stream.train_stream:
                    # Workers that are kept from epoch to epoch: without them most of a short epoch would be their start.
                    loop.train(experience, num_workers=data.num_workers, persistent_workers=True)
                    metrics = loop.eval(stream.test_stream, num_workers=data.num_workers)
                return stream_accuracy(metrics)

            return timed(learn)

        found = in_turn({"ours": ours, "Avalanche": theirs}, options.repeats)
    seconds, accuracy = ({side: [pair[i] for pair in pairs] for side, pairs in found.items()} for i in (0, 1))
    columns = ["", "seconds: median (extremes)", "ratio", "wanted", "test accuracy, %, seeds 0 to n"]
    rows = [
        [
            name,
            spread(seconds[side], 1),
            spread(ratios(seconds["Avalanche"], seconds[side])) if side == "ours" else "1",
            "5" if side == "ours" else "",
            ", ".join(f"{100 * value:.1f}" for value in accuracy[side]),
        ]
        for side, name in (("ours", f"HeadOnly, {options.epochs} epochs"), ("Avalanche", "Avalanche's Naive, frozen"))
    ]
    about = (
        f"{options.backbone} at {options.size} px, {options.images} images, {EXPERIENCES} experiences, {options.epochs} epochs, "
        f"{options.repeats} repeats; {machine('timm', 'avalanche-lib')}"
    )
    table(about, columns, rows)
