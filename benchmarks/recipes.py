"""The recipes that change images, each against training without it: accuracy, seconds, and the place of the maps.

    python -m benchmarks.recipes --photos CIFAR10

``--photos`` is a folder with train/<class>/ and test/<class>/, of which the first images are taken; without it only the
generated images are trained on. Those have a striped square, whose direction is the class, at a random place, and in a
corner a coloured spot, the same colour for most training images of a class and a random one in testing: a cue that
misleads. The share of the map of the predicted class that lies in the square's box is measured on the test images.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from benchmarks.measuring import QUIET, fit, machine, photo_options, spread, table
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.explanation.maps import class_maps
from lightning_vision.explanation.scores import box_cover, share_inside
from lightning_vision.learning.checkpoints import find_checkpoint, read_checkpoint
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.recipe import Recipe
from lightning_vision.learning.stage import Stage
from lightning_vision.learning.strategy import Strategy

Recipes = Mapping[str, Mapping[str, Any]]
Side = tuple[Recipes, int, tuple[str, ...]]
"""Recipes, epochs, and further options."""
COLOURS = ((220, 60, 60), (60, 220, 60), (70, 70, 230), (210, 200, 50))


class Cued(StreamDataModule):
    """Striped squares at random places of 64 x 64 pixels of noise, and a spot that tells the class nearly always in training.

    Args:
        misled: Share of the training images whose spot is another class's.
        contrast: Half the difference between light and dark stripes, in grey levels; the noise has a deviation of 25.
        train: Training images.
        test: Test images; the colours of their spots are drawn.
        options: See ``StreamDataModule``.
    """

    SIDE, SPOT = 24, 10

    def __init__(
        self, misled: float = 0.05, contrast: float = 10.0, train: int = 1200, test: int = 600, **options: Any
    ) -> None:
        self.misled, self.contrast, self.counts = misled, contrast, {"train": train, "test": test}
        super().__init__(**options)

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """Draw all images."""
        generator = np.random.default_rng(0)
        rows, images = [], []
        for split, count in self.counts.items():
            for number in range(count):
                label = number % 4
                trusted = split == "train" and generator.random() >= self.misled
                colour = label if trusted else int(generator.integers(4))
                left, top = (int(place) for place in generator.integers(12, 64 - self.SIDE, 2))
                images.append(self._draw(label, colour, left, top, generator))
                box = (left, top, left + self.SIDE, top + self.SIDE)
                rows.append({"path": f"{split}/{number}.png", "label": label, "split": split, "box_xyxy": box})
        self.images = images
        return pd.DataFrame(rows), ["horizontal", "vertical", "falling", "rising"]

    def _draw(self, label: int, colour: int, left: int, top: int, generator: np.random.Generator) -> Tensor:
        pixels = generator.normal(110, 25, (64, 64, 3))
        y, x = np.mgrid[: self.SIDE, : self.SIDE]
        wave = (y, x, x + y, x - y)[label]
        stripes = self.contrast * np.sign(np.sin(2 * np.pi * wave / 6 + generator.uniform(0, 6)))
        pixels[top : top + self.SIDE, left : left + self.SIDE] += stripes[:, :, None]
        pixels[: self.SPOT, : self.SPOT] = COLOURS[colour] + generator.normal(0, 10, (self.SPOT, self.SPOT, 3))
        return torch.from_numpy(pixels.clip(0, 255).astype(np.uint8)).permute(2, 0, 1).contiguous()

    def load_image(self, index: int) -> Tensor:
        """From memory."""
        return self.images[index]

    def default_train_transforms(self) -> list[nn.Module]:
        """None: a mirror image has another class."""
        return [v2.Identity()]

    def default_eval_transforms(self) -> list[nn.Module]:
        """None."""
        return [v2.Identity()]


class TrainOn(Recipe):
    """A stage that changes nothing, with an optimizer of its own like that of CamBlur.

    Args:
        epochs: Of that stage.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def stages(self, learner: Strategy, stages: list[Stage], max_epochs: int) -> list[Stage]:
        """One more."""
        return [*stages, Stage(stages[-1].name, "once more", epochs=self.epochs)]


def callbacks(recipes: Recipes) -> str:
    """The option that names recipes."""
    homes = {"TrainOn": "benchmarks.recipes"}
    listed = [
        {"class_path": f"{homes.get(name, 'lightning_vision.recipes')}.{name}", "init_args": args}
        for name, args in recipes.items()
    ]
    return f"--trainer.callbacks={json.dumps(listed)}"


def box_share(run: Path, backbone: str, data: StreamDataModule) -> float:
    """The mean share of the map of the predicted class that lies in the box, over the test images."""
    model = ContinualClassifier(backbone, pretrained=False, class_names=data.class_names, image_size=64).eval()
    model.load_state_dict(read_checkpoint(find_checkpoint(run))["state_dict"])
    rows = np.flatnonzero(data.samples["split"] == "test")
    shares = []
    for part in np.array_split(rows, -(-len(rows) // 64)):
        images = torch.stack([data.image(int(row)) for row in part])
        with torch.no_grad():
            predicted = model(images).argmax(dim=1)
        boxes = torch.tensor(data.samples["box_xyxy"].iloc[part].tolist(), dtype=torch.float32)
        shares.append(share_inside(class_maps(model, images, predicted), box_cover(boxes, 64, 64)))
    return float(torch.cat(shares).nanmean())


def compare(
    folder: Path, about: str, sides: Mapping[str, Side], common: list[str], options: argparse.Namespace
) -> None:
    """Run each side with each seed and print a table.

    Args:
        folder: The folder of the runs.
        about: The title of the table.
        sides: The sides of the comparison.
        common: Options of all sides.
        options: The options of the command line.
    """
    rows = []
    data = Cued(root=".", num_workers=0, image_size=64, val_fraction=0) if "Cued" in " ".join(common) else None
    for side, (recipes, epochs, more) in sides.items():
        accuracy, seconds, shares = [], [], []
        for seed in range(options.seeds):
            name = f"{about}-{side}-{seed}".replace(" ", "_").replace(",", "")
            results = fit(
                folder, name, *common, "--data.stream=Joint", "--model.strategy=FullFineTune", f"--seed_everything={seed}",
                f"--trainer.max_epochs={epochs}", callbacks(recipes), f"--data.batch_size={options.batch}", *more,
            )  # fmt: skip
            accuracy.append(100 * (results.test_accuracy[-1] or 0.0))
            seconds.append(results.experiences[0].seconds)
            if data is not None:
                shares.append(100 * box_share(folder / name, options.backbone, data))
        rows.append([side, spread(accuracy, 1), spread(seconds, 0), spread(shares, 1) if shares else "-"])
    columns = ["what", "test accuracy, %", "seconds of learning", "share of the map in the box, %"]
    table(f"{about}; {options.backbone}, {options.seeds} seeds, {machine('timm')}", columns, rows)


def take(photos: Path, folder: Path, counts: Mapping[str, int]) -> Path:
    """The first images of each class of a folder, as a folder."""
    for split, count in counts.items():
        for place in sorted((photos / split).iterdir()):
            (folder / split / place.name).mkdir(parents=True)
            for file in sorted(place.iterdir())[:count]:
                shutil.copy(file, folder / split / place.name)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder with train/<class>/ and test/<class>/")
    parser.add_argument("--train", type=int, default=500, help="photos of a class to train on")
    parser.add_argument("--test", type=int, default=200, help="photos of a class to test on")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=64, help="pixels, at which photos are tested")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--layer", default="layer2", help="of the backbone, that is mapped on the generated images")
    parser.add_argument("--only", nargs="+", default=["fixres", "progressive", "blur", "cue"], help="which comparisons")
    options = parser.parse_args()
    epochs, small = options.epochs, round(0.75 * options.size)
    optimizer = ["--model.optimizer=torch.optim.AdamW", "--model.optimizer.lr=1e-3"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.photos is not None:
            root = take(options.photos, folder / "photos", {"train": options.train, "test": options.test})
            common = [*photo_options(options.backbone, options.size), f"--data.root={root}", *optimizer]
            if "fixres" in options.only:
                fix: dict[str, Any] = {"train_size": small}
                compare(folder, f"FixRes at {small} and {options.size} px", {
                    f"trained and tested at {small}": ({}, epochs, (f"--data.image_size={small}",)),
                    f"trained and tested at {options.size}": ({}, epochs, ()),
                    f"trained at {small}, tested at {options.size}": ({"FixRes": {**fix, "epochs": 0}}, epochs, ()),
                    "and fitted to that for 2 epochs": ({"FixRes": {**fix, "epochs": 2}}, epochs, ()),
                }, common, options)  # fmt: skip
            if "progressive" in options.only:
                sizes: dict[str, Any] = {"preset": None, "size": [round(0.43 * options.size), options.size]}
                compare(folder, f"ProgressiveResizing up to {options.size} px", {
                    "constant size": ({}, epochs, ()),
                    "sizes alone": ({"ProgressiveResizing": sizes}, epochs, ()),
                    "preset S": ({"ProgressiveResizing": {"preset": "S"}}, epochs, ()),
                }, common, options)  # fmt: skip
            if "blur" in options.only:
                blur: Recipes = {"CamBlur": {"epochs": 2}}
                sides: dict[str, Side] = {
                    "plain": ({"TrainOn": {"epochs": 2}}, epochs, ()),
                    "CamBlur in the last 2 epochs": (blur, epochs, ()),
                }
                compare(folder, "CamBlur on photos", sides, common, options)
        if "cue" in options.only:
            common = [
                *QUIET, "--data=benchmarks.recipes.Cued", "--data.root=.", "--data.num_workers=0", "--data.image_size=64",
                "--data.val_fraction=0", "--data.on_leak=warn", f"--model.backbone={options.backbone}", *optimizer,
            ]  # fmt: skip
            # Wide enough for the spot, and a layer whose map is fine enough for it.
            blur = {"CamBlur": {"epochs": 3, "sigma": 0.2, "layer": options.layer}}
            sides = {"plain": ({"TrainOn": {"epochs": 3}}, 3, ()), "CamBlur in the last 3 epochs": (blur, 3, ())}
            compare(folder, "CamBlur on images with a cue that misleads", sides, common, options)
