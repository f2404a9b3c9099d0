"""The labels of a run's images, judged by the features of its backbone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lightning_vision.data_report.label_doubts import LabelDoubts, Neighbours, find_doubts, nearest
from lightning_vision.features.checkpoint_features import CheckpointFeatures
from lightning_vision.learning.loaded_checkpoint import LoadedCheckpoint
from lightning_vision.seeding import derive_seed
from lightning_vision.storage.atomic_write import write_text_atomically
from lightning_vision.terminal.wording import printable

MOST_LISTED = 2000
"""Labels in the table at least, if there are so many images; all those that may be wrong are in it."""
MOST_JUDGED = 100_000
MOST_PROBABILITIES = 50_000_000
"""Images times classes, each with a probability: 400 MB."""
LEARNED = (
    "The backbone was trained on these labels, so labels that it learned by heart look right. A run whose strategy freezes the "
    "backbone finds more of them."
)


@dataclass(frozen=True)
class LabelReport:
    """The images with the most doubtful labels, and what is similar to them."""

    checkpoint: str
    doubts: LabelDoubts
    neighbours: list[Neighbours]
    """Of the first images of ``doubts``, those that are listed; with rows of the sample table."""
    note: str
    """What limits the assessment; empty if nothing does."""


def judge_labels(checkpoint: LoadedCheckpoint, seed: int) -> LabelReport:
    """Judge the labels of all images of a run, of training, validation and test data, by the features of its backbone.

    If the strategy freezes the backbone, the features come from the feature cache.

    Args:
        checkpoint: The run's classifier and data.
        seed: Deals the folds.

    Raises:
        DataError: There are too few images.
    """
    model, datamodule = checkpoint.model, checkpoint.datamodule
    samples = datamodule.samples
    rows = np.arange(len(samples))
    notes = [] if model.strategy.freezes_backbone else [LEARNED]
    most = min(MOST_JUDGED, MOST_PROBABILITIES // len(datamodule.class_names))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(derive_seed(seed, "judged labels")).permutation(rows)[:most])
        notes.append(f"Only {most:,} of {len(samples):,} images were assessed, drawn with seed {seed}.")
    groups = samples["group"].to_numpy()[rows] if "group" in samples else None
    with CheckpointFeatures(model, datamodule, checkpoint.trainers.evaluation()) as passing:
        features = passing.of_unit_length(datamodule, rows, "all images").numpy()
    doubts = find_doubts(features, samples["label"].to_numpy()[rows], rows, seed, groups)
    listed = max(doubts.errors, min(MOST_LISTED, len(doubts.rows)))
    similar = nearest(features, np.searchsorted(rows, doubts.rows[:listed]), groups)
    neighbours = [Neighbours(rows[each.rows], each.similarity) for each in similar]
    return LabelReport(str(checkpoint.path), doubts, neighbours, " ".join(notes))


def write_labels(report: LabelReport, samples: pd.DataFrame, class_names: list[str], path: Path) -> None:
    """Write the listed images as CSV, the most doubtful first.

    Args:
        report: What was found.
        samples: The sample table.
        class_names: The names of the labels.
        path: The file; its folder is created.
    """
    doubts, names = report.doubts, np.array([printable(name) for name in class_names], dtype=object)
    count = len(report.neighbours)
    paths = np.array([printable(each) for each in samples["path"]], dtype=object)
    labels = samples["label"].to_numpy()
    rows = doubts.rows[:count]
    table = pd.DataFrame(
        {
            "rank": np.arange(1, count + 1),
            "path": paths[rows],
            "row": rows,
            "split": samples["split"].to_numpy(dtype=object)[rows],
            "label": names[doubts.label[:count]],
            "suggested": names[doubts.suggested[:count]],
            "probability_of_label": doubts.given[:count].round(6),
            "probability_of_suggested": doubts.other[:count].round(6),
            "may_be_wrong": doubts.is_error[:count],
            "neighbours": [" | ".join(paths[each.rows]) for each in report.neighbours],
            "labels_of_neighbours": [" | ".join(names[labels[each.rows]]) for each in report.neighbours],
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, table.to_csv(index=False, lineterminator="\n"))
