"""The images whose features are cached, and what identifies the input of the backbone that is made of each."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from lightning_vision.data.datasets import SampleDataset
from lightning_vision.seeding import derive_seed


class Identified(Protocol):
    """Images that are told apart by their content."""

    @property
    def digests(self) -> npt.NDArray[np.uint8]:
        """(N, 16) identities."""


class Images(Protocol):
    """Images whose features can be cached: those of a datamodule, or others that are opened by its options."""

    seed: int
    views: int | None
    num_workers: int
    feature_cache_gb: float

    @property
    def samples(self) -> pd.DataFrame:
        """N rows, with the column ``path``."""

    @property
    def prepared(self) -> Identified:
        """The images of these rows."""

    def image_dataset(self) -> SampleDataset:
        """Loads and transforms the image of a row."""


def image_key(datamodule: Images, view: int) -> dict[str, Any]:
    """Everything that determines the input of a frozen backbone, as plain values.

    Together with a row's digest it identifies the input: equal keys and digests mean equal pixels.

    Args:
        datamodule: The images.
        view: Number of an augmented view; a negative one is the evaluation transform.
    """
    described = datamodule.image_dataset().describe(augmented=view >= 0)
    return {**described, "view": None if view < 0 else [datamodule.seed, view]}


def view_seed(datamodule: Images, row: int, view: int) -> int:
    """The seed of a row's augmentation in a view, derived from its content: it is the same in any table and run."""
    if view < 0:
        return -1
    return derive_seed(datamodule.seed, "view", view, datamodule.prepared.digests[row].tobytes().hex())
