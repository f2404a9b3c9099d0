"""scikit-learn's handwritten digits: real images that need no download."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import ConfigError


class Digits(StreamDataModule):
    """1,797 grey images of the digits 0 to 9, 8x8 pixels, written by 13 people, included in scikit-learn.

    Source: the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998), UCI Machine
    Learning Repository, CC BY 4.0, https://doi.org/10.24432/C50P49. There is no official split: validation and test
    sets are split off with ``seed``. The file is in the order in which the images were collected, so consecutive parts
    have different writers: the column ``domain`` names them "part 1", "part 2" and so on.

    Args:
        root: Not used; the images are in the installed package.
        domains: Number of values of ``domain``.
        num_workers: Not needed, because the images are in memory.
        image_size: Side of the enlarged images, in pixels.
        options: See ``StreamDataModule``.
    """

    CLASS_NAMES = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")

    def __init__(
        self,
        root: str = "",
        domains: int = 5,
        num_workers: int = 0,
        image_size: int = 32,
        **options: Any,
    ) -> None:
        if domains < 1:
            raise ConfigError(f"data.domains must be at least 1, not {domains}.")
        self.domains = domains
        super().__init__(root, num_workers=num_workers, image_size=image_size, **options)

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """One row an image, in the order of the file."""
        from sklearn.datasets import load_digits  # takes a second, and only this class needs it

        pixels, labels = load_digits(return_X_y=True)  # (N, 64) float64 in 0..16, (N,)
        grey = np.rint(pixels.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
        self._images = torch.from_numpy(grey)  # (N, 1, 8, 8)
        parts = np.array_split(np.arange(len(labels)), self.domains)
        samples = pd.DataFrame(
            {
                "path": [f"digits/{row:04d}" for row in range(len(labels))],
                "label": labels.astype(np.int64),
                "split": "",
                "domain": np.repeat([f"part {number + 1}" for number in range(len(parts))], [len(p) for p in parts]),
            }
        )
        return samples, list(self.CLASS_NAMES)

    def load_image(self, index: int) -> Tensor:
        """uint8 (3, 8, 8)."""
        return self._images[index].expand(3, 8, 8)

    def default_train_transforms(self) -> list[nn.Module]:
        """Slightly turned, shifted and scaled, then enlarged.

        In this order: torch spreads the larger image over threads, which takes ten times as long on busy cores.
        """
        bilinear = v2.InterpolationMode.BILINEAR
        slightly = v2.RandomAffine(degrees=10, translate=(0.08, 0.08), scale=(0.9, 1.1), interpolation=bilinear)
        return [slightly, *self.default_eval_transforms()]

    def default_eval_transforms(self) -> list[nn.Module]:
        """Enlarged."""
        return [v2.Resize([self.image_size, self.image_size], antialias=True)]
