"""Images of one textured object at a known place, before a background of the same blocks in no order."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from lightning_vision import StreamDataModule
from lightning_vision.learning.backbones import BackboneFacts
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.network import Network

NAMES = ["stripes down", "stripes across", "chessboard"]
SIDE, OBJECT, BLOCK = 64, 24, 3
"""Pixels: of the image, of the object, of the blocks that both are made of."""
CHANCE = (OBJECT / SIDE) ** 2
"""Of a place drawn at random to lie in the object."""


def textured(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Images uint8 (N, 3, 64, 64), labels (N,) and boxes (N, 4)."""
    generator = np.random.default_rng(seed)
    cells = -(-SIDE // BLOCK)
    images, boxes = np.empty((count, SIDE, SIDE)), np.empty((count, 4))
    labels = np.arange(count) % len(NAMES)
    across, down = np.meshgrid(np.arange(OBJECT) // BLOCK, np.arange(OBJECT) // BLOCK)
    patterns = [across % 2, down % 2, (across + down) % 2]
    for number, label in enumerate(labels):
        blocks = generator.integers(0, 2, (cells, cells))
        images[number] = np.kron(blocks, np.ones((BLOCK, BLOCK)))[:SIDE, :SIDE]
        left, top = generator.integers(0, SIDE - OBJECT + 1, 2)
        images[number, top : top + OBJECT, left : left + OBJECT] = patterns[label]
        boxes[number] = left, top, left + OBJECT, top + OBJECT
    pixels = 128 + 100 * (images - 0.5) + generator.normal(0, 10, images.shape)
    grey = torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))
    return grey[:, None].repeat(1, 3, 1, 1), torch.from_numpy(labels), torch.from_numpy(boxes)


def write_textured(folder: Path, count: int, saliency: bool = False, seed: int = 0) -> Path:
    """The images as PNG files, with ``table.csv``; every fourth is for testing."""
    images, labels, boxes = textured(count, seed)
    rows = []
    for number, (image, label, box) in enumerate(zip(images, labels.tolist(), boxes.tolist(), strict=True)):
        path = folder / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
        split = "test" if number // len(NAMES) % 4 == 3 else "train"
        rows.append({"path": path.name, "label": label, "split": split, **dict(zip("abcd", box, strict=True))})
        if saliency:
            Image.fromarray(gaze(box)).save(folder / f"gaze-{number:03d}.png")
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder


def gaze(box: list[float]) -> npt.NDArray[np.uint8]:
    """A saliency map (64, 64) that is white in the box and black elsewhere."""
    white = np.zeros((SIDE, SIDE), dtype=np.uint8)
    left, top, right, bottom = (int(edge) for edge in box)
    white[top:bottom, left:right] = 255
    return white


class TexturedObjects(StreamDataModule):
    """The folder of ``write_textured``.

    Args:
        root: The folder.
        boxes: With the objects' boxes.
        options: See ``StreamDataModule``.
    """

    def __init__(
        self, root: str, boxes: bool = True, image_size: int = SIDE, num_workers: int = 0, **options: Any
    ) -> None:
        self.boxes = boxes
        super().__init__(root, image_size=image_size, num_workers=num_workers, **options)

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        table = pd.read_csv(self.root / "table.csv")
        samples = table[["path", "label", "split"]].assign(split=table["split"].replace("train", ""))
        if self.boxes:
            boxes = pd.Series(list(table[["a", "b", "c", "d"]].to_numpy(dtype=np.float32)))
            samples = samples.assign(box_xyxy=boxes)
            maps = [self.root / f"gaze-{path}" for path in samples["path"]]
            if maps[0].is_file():
                samples = samples.assign(saliency=[path.name for path in maps])
        return samples, list(NAMES)

    def default_train_transforms(self) -> list[nn.Module]:
        return [v2.RandomHorizontalFlip()]

    def default_eval_transforms(self) -> list[nn.Module]:
        return [v2.Resize(self.image_size)]


def small_classifier(seed: int = 0) -> ContinualClassifier:
    """An untrained classifier of these images whose maps have 16 x 16 places."""
    torch.manual_seed(seed)
    model = ContinualClassifier(backbone="test_resnet", pretrained=False, class_names=NAMES, image_size=SIDE)
    layers: list[nn.Module] = []
    for inside, outside, stride in ((3, 16, 2), (16, 32, 2), (32, 32, 1)):
        layers += [nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]
    backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    half = (0.5, 0.5, 0.5)
    model.network = Network(backbone, BackboneFacts("small", 32, half, half), len(NAMES))
    model.network.see(range(len(NAMES)))
    return model


def train(model: ContinualClassifier, steps: int = 80, batch: int = 32) -> None:
    """Teach a classifier these images, new ones at each step."""
    network = model.network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for step in range(steps):
        images, labels, _ = textured(batch, seed=1000 + step)
        loss = nn.functional.cross_entropy(network(network.normalise(images)), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    model.eval()
