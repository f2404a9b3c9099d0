"""A finished run, opened as the program opens it for ``test``, and images that it has never seen."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import QUICK
from PIL import Image

from lightning_vision.cli import main
from lightning_vision.learning.loaded_checkpoint import LoadedCheckpoint

ODD = {"yellow": (220, 220, 40), "purple": (160, 40, 180)}


def opened(checkpoint: Path, *options: str) -> LoadedCheckpoint:
    """The checkpoint as every task on one is given it."""
    found: list[LoadedCheckpoint] = []

    def take(given: LoadedCheckpoint) -> SimpleNamespace:
        found.append(given)
        return SimpleNamespace(lines=[])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_vision.run.checkpoint_tasks.test", take)
        assert main(["test", *QUICK, *options, f"--ckpt_path={checkpoint}"]) == 0
    return found[0]


def write_ood_images(root: Path, names: Sequence[str] = tuple(ODD), count: int = 20, side: int = 48) -> Path:
    """Noisy squares in colours that no class has, a folder a colour; returns the folder."""
    generator = np.random.default_rng(5)
    for name in names:
        folder = root / name
        folder.mkdir(parents=True)
        for number in range(count):
            # Blotches, so that no two look alike to a perceptual hash.
            blotches = np.kron(generator.normal(0, 60, (6, 6, 3)), np.ones((side // 6, side // 6, 1)))
            pixels = np.array(ODD[name]) + blotches + generator.normal(0, 25, blotches.shape)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return root
