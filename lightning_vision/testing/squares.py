"""A datamodule that needs no files: small noisy squares, each class with a colour of its own."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.scenarios import Scenario

COLOURS = {"red": (200, 60, 60), "green": (60, 200, 60), "blue": (60, 60, 200), "grey": (130, 130, 130)}


class ColouredSquares(StreamDataModule):
    """Learnable within an epoch or two, and quick enough for a run through the command line.

    Args:
        classes: Names out of ``COLOURS``.
        per_class: Images of each class.
        noise: Standard deviation of the noise, in grey levels.
        arrivals: In place of ``per_class`` the training images of each class in each arrival (the column ``arrival``, for
            the scenario FromColumn). A fourth as many are for validation and a fourth for testing.
        least_held_out: Of each class in each arrival, at least so many images for validation and for testing.
        root: Not used.
        batch_size: See ``StreamDataModule``, as all that follow.
        num_workers: None are needed.
        image_size: Side of the images, in pixels.
        val_fraction: Share of the training data.
        seed: Of the cut.
        stream: How the training data becomes experiences.
        options: See ``StreamDataModule``.
    """

    def __init__(
        self,
        classes: list[str] | None = None,
        per_class: int = 24,
        noise: float = 40.0,
        arrivals: list[dict[str, int]] | None = None,
        least_held_out: int = 0,
        root: str = "",
        batch_size: int = 16,
        num_workers: int = 0,
        image_size: int = 16,
        val_fraction: float = 0.2,
        seed: int = 0,
        stream: Scenario | None = None,
        **options: Any,
    ) -> None:
        self.classes = classes or list(COLOURS)
        self.per_class, self.noise = per_class, noise
        self.arrivals, self.least_held_out = arrivals, least_held_out
        super().__init__(root, batch_size, num_workers, image_size, val_fraction, 0.25, seed, stream, **options)

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """One row an image; the column ``place`` halves them."""
        rows = self._rows()
        names = [name for name, _, _ in rows]
        generator = np.random.default_rng(0)
        colours = np.array([COLOURS[name] for name in names])[:, :, None, None]
        pixels = colours + generator.normal(0, self.noise, (len(names), 3, self.image_size, self.image_size))
        self._images = torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))
        samples = pd.DataFrame(
            {
                "path": [f"{name}/{number}.png" for number, name in enumerate(names)],
                "label": [self.classes.index(name) for name in names],
                "split": [split for _, split, _ in rows],
                "place": np.arange(len(names)) % 2,
                "arrival": [arrival for _, _, arrival in rows],
            }
        )
        return samples, list(self.classes)

    def _rows(self) -> list[tuple[str, str, int]]:
        """Class, split and arrival of each image."""
        if self.arrivals is None:
            return [(name, "", 0) for name in self.classes for _ in range(self.per_class)]
        rows = []
        for arrival, counts in enumerate(self.arrivals):
            for name, count in counts.items():
                held_out = max(count // 4, self.least_held_out)
                for split, number in (("train", count), ("val", held_out), ("test", held_out)):
                    rows += [(name, split, arrival)] * number
        return rows

    def load_image(self, index: int) -> Tensor:
        """uint8 (3, H, W)."""
        return self._images[index]

    def default_train_transforms(self) -> list[nn.Module]:
        """Random flip."""
        return [v2.RandomHorizontalFlip()]

    def default_eval_transforms(self) -> list[nn.Module]:
        """The image as it is."""
        return [v2.Identity()]
