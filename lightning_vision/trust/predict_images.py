"""The predictions of a classifier for any images, as a table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from lightning_vision.array_types import Rows
from lightning_vision.data.sample_table import names_of_files
from lightning_vision.learning.loaded_checkpoint import LoadedCheckpoint
from lightning_vision.results.predictions import Collector
from lightning_vision.trust.given_files import Frame
from lightning_vision.trust.given_images import given_images
from lightning_vision.trust.kept_calibration import Trusted, read_trusted


def predict_images(checkpoint: LoadedCheckpoint, images: Any, every: int = 1) -> pd.DataFrame:
    """Predict images as the run's test images were, by the temperature and the threshold that the checkpoint keeps.

    Args:
        checkpoint: The classifier, and data whose evaluation transform the images are given.
        images: See ``Run.predict``.
        every: See ``find_files``.

    Returns:
        A row for each image, as ``lightning-vision predict --model`` writes them: ``path`` (``number`` for images from
        memory), ``frame`` and ``seconds`` if there are videos, ``predicted``, ``confidence``, ``rejected``, and ``probability/<class>`` for each class.

    Raises:
        DataError: See ``given_images``.
    """
    model = checkpoint.model
    given = given_images(images, checkpoint.datamodule, every)
    trainer = checkpoint.trainers.evaluation()
    kept = read_trusted(checkpoint.path) or Trusted()
    collector = Collector(keep_probability=True, temperature=kept.temperature)
    model.collectors = [collector]
    trainer.test(model, dataloaders=given.batches, verbose=False)
    found = collector.result(trainer.strategy.root_device).picked(model.picked_variant)
    if found.probability is None:
        raise RuntimeError("The collector kept no probabilities.")
    probability, best = found.probability[0], found.predicted[0]
    names = np.array(model.class_names, dtype=object)
    confidence = probability[np.arange(len(best)), best]
    first = pd.Series(found.index) if given.paths is None else names_of_files(given.paths[row] for row in found.index)
    return pd.DataFrame(
        {
            "number" if given.paths is None else "path": first,
            **_columns_of(given.frames, found.index),
            "predicted": names[best],
            "confidence": confidence,
            "rejected": confidence < (kept.threshold or 0.0),
            **{f"probability/{name}": probability[:, column] for column, name in enumerate(model.class_names)},
        }
    )


def _columns_of(frames: list[Frame | None] | None, index: Rows) -> dict[str, pd.Series]:
    """Number and time of the frames of videos, missing in rows of other images; no columns where there are no videos."""
    if frames is None:
        return {}
    chosen = [frames[row] for row in index]
    return {
        "frame": pd.Series([None if frame is None else frame.number for frame in chosen], dtype="Int64"),
        "seconds": pd.Series([math.nan if frame is None else frame.seconds for frame in chosen], dtype="float64"),
    }
