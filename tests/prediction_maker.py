"""Random predictions for N images, and what a file of predictions holds."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lightning_vision.results.predictions import Predictions

N = 6
FACTS: dict[str, npt.NDArray[Any]] = {"path_hash": np.array(["a"] * N), "part": np.zeros(N, dtype=np.int32)}


def predicted(seed: int, *variants: str, count: int = N) -> Predictions:
    """Of three classes, by variants."""
    generator = np.random.default_rng(seed)
    shape = (len(variants) or 1, count)
    return Predictions(
        index=np.arange(count),
        label=np.arange(count) % 3,
        predicted=generator.integers(0, 3, shape),
        confidence=generator.random(shape, dtype=np.float32),
        variants=variants or ("",),
    )


def arrays_of(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All arrays of predictions.npz."""
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}
