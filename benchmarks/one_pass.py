"""The cost of comparing strategies on a frozen backbone, relative to one bare pass of its images through the backbone.

    python -m benchmarks.one_pass --images 3000

One stream of 5 experiences with full evaluation after each, mobilenetv2_100 at 224, the base given. HeadOnly for 10 epochs,
Move-to-Data with 32 epsilons, NearestMean and StreamingLDA run one after another in this process, with a store that is
empty. The bare pass is timm in inference mode over the same images, in the memory format and micro-batch that the store
chose, without Lightning, labels or a disk. Also the time that RanPAC, FeCAM and the random forest add.

Images: JPEG of 256 x 256 cut from scikit-learn's two photographs, in ten folders.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.measuring import fit, machine, make_images, photo_options, start, timed
from lightning_vision.results.schema import Results

BACKBONE = "mobilenetv2_100"
RUNS = {
    "HeadOnly, 10 epochs": ("HeadOnly", "--data.views=0", "--trainer.max_epochs=10"),
    "MoveToData, 32 epsilons": (
        "MoveToData",
        f"--model.strategy.epsilon={[float(e) for e in np.logspace(-6, -0.3, 32)]}",
    ),
    "NearestMean": ("NearestMean",),
    "StreamingLDA": ("StreamingLDA",),
}
MORE = {
    "RanPAC, M = 2,000": ("RanPAC",),
    "RanPAC, M = 10,000": ("RanPAC", "--model.strategy.projections=10000"),
    "FeCAM": ("FeCAM",),
    "random forest": ("SklearnHead",),
}


def run(folder: Path, name: str, *options: str) -> tuple[float, Results]:
    """Seconds of a run, and its results."""
    return timed(
        lambda: fit(
            folder, name, *photo_options(BACKBONE, 224), f"--data.root={folder / 'images'}",
            "--data.stream=InstanceIncremental", "--data.stream.experiences=5", *options,
        )
    )  # fmt: skip


def bare_pass(folder: Path, cache: Path) -> tuple[float, int, str]:
    """Seconds for all images through the backbone, decoded by the project's own loader; the chosen way."""
    from datamodules import ImageFolder
    from lightning_vision.data.batch_order import Draw
    from lightning_vision.data.loaders import make_loader
    from lightning_vision.features.fastest_way import Way
    from lightning_vision.learning.backbones import build_backbone

    kept = next(cache.glob("*/feature_pass.json"), None)
    measured = [*json.loads(kept.read_text()).values()] if kept else []
    way = Way(measured[0]["micro_batch"], measured[0]["channels_last"]) if measured else Way(8, True)
    data = ImageFolder(str(folder / "images"))
    backbone, facts = build_backbone(BACKBONE, pretrained=False, image_size=224)
    form = torch.channels_last if way.channels_last else torch.contiguous_format
    backbone = backbone.eval().to(memory_format=form)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (facts.mean, facts.std))
    draws = [Draw(row, 0, -1, valid=True, memory=False) for row in range(len(data.samples))]
    loader = make_loader(data.image_dataset(), [draws[i : i + 32] for i in range(0, len(draws), 32)], 2)
    begun = time.perf_counter()
    with torch.inference_mode():
        for batch in loader:
            image = (batch["image"].float() / 255 - mean) / std
            for part in image.split(way.micro_batch):
                backbone(part.contiguous(memory_format=form))
    return time.perf_counter() - begun, len(draws), str(way)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=3)
    # A lambda for 10,000 projections takes minutes to pick, after each experience: ask for it.
    quick = [name for name in MORE if "10,000" not in name]
    parser.add_argument("--also", nargs="*", choices=list(MORE), default=quick, help="beside the four strategies")
    options = parser.parse_args()
    runs = {**RUNS, **{name: MORE[name] for name in options.also}}
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_images(folder / "images", options.images)
        run(folder, "base", "--model.strategy=HeadOnly", "--trainer.max_epochs=1", "--data.views=0")
        base = f"--model.base_checkpoint={folder / 'base' / 'checkpoints' / 'experience=0000.ckpt'}"
        for repeat in range(options.repeats):
            cache_folder = folder / f"cache-{repeat}"
            cache = f"--data.cache_dir={cache_folder}"
            # The inspection before training, which all strategies share, is stored beside the data and not measured.
            page = f"--output={folder / 'data.html'}"
            start("data", "--data=ImageFolder", f"--data.root={folder / 'images'}", cache, page)
            seconds: dict[str, float] = {}
            images = 0
            for name, (strategy, *rest) in runs.items():
                label = f"{repeat}-{name.split(',')[0]}-{len(seconds)}".replace(" ", "-")
                seconds[name], results = run(folder, label, base, cache, f"--model.strategy={strategy}", *rest)
                images += results.totals.backbone_images
            bare, count, way = bare_pass(folder, cache_folder)
            together = sum(seconds[name] for name in RUNS)
            rows.append({"bare": bare, "together": together, "ratio": together / bare, "images": images, **seconds})
            print(f"{count} images, {images} through the backbone, {way}, {together / bare:.2f}", flush=True)
    table = pd.DataFrame(rows)
    print(f"{machine('timm')}, {options.repeats} repeats")
    print(table.describe().loc[["min", "50%", "max"]].T.round(2).to_string())
