"""A folder of JPEGs as a person has it: one sub-folder a class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"birds": (70, 70, 200), "cats": (200, 70, 70), "dogs": (70, 200, 70)}


def write_photos(root: Path, classes: Sequence[str] = tuple(COLOURS), per_class: int = 12, seed: int = 0) -> Path:
    """Noisy squares of 40 pixels, each class in a colour of its own; returns the folder."""
    generator = np.random.default_rng(seed)
    for name in classes:
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            pixels = np.array(COLOURS.get(name, (120, 120, 120))) + generator.normal(0, 30, (40, 40, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:04d}.jpg")
    return root
