"""What a run found, as pandas tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lightning_vision.drawing.curves import through_stream
from lightning_vision.errors import CheckpointError
from lightning_vision.report.predictions import read_predictions
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.schema import Results


def experience_names(results: Results) -> list[str]:
    """The names of all T experiences; one that is not finished yet is called by its number."""
    finished = [record.name for record in results.experiences]
    return [*finished, *(f"experience {number}" for number in range(len(finished), results.run.experiences))]


def accuracy_matrix(results: Results) -> pd.DataFrame:
    """Accuracy (t, T): a row after each finished experience, a column for each test part; NaN where it is not defined."""
    names = experience_names(results)
    values = np.array(results.accuracy_matrix, dtype=np.float64)  # None becomes NaN
    return pd.DataFrame(
        values,
        index=pd.Index(names[: len(values)], name="after learning"),
        columns=pd.Index(names[: values.shape[1]], name="test part"),
    )


def class_table(results: Results) -> pd.DataFrame:
    """A row for each class on the test set: support (images), recall, precision, F1, recall before and its change."""
    rows = []
    for name, scores in results.test.per_class.items():
        before = None if results.accuracy_before is None else results.first_test.per_class[name]["recall"]
        rows.append({"class": name, **scores, "recall_before": before})
    table = pd.DataFrame(rows).set_index("class").astype({"recall": float, "recall_before": float})
    return table.assign(change_in_recall=table["recall"] - table["recall_before"])


def confusion_table(results: Results) -> pd.DataFrame:
    """Counts (C, C) on the test set: a row for each true class, a column for each predicted one."""
    return pd.DataFrame(
        np.asarray(results.test.confusion_matrix),
        index=pd.Index(results.class_names, name="true"),
        columns=pd.Index(results.class_names, name="predicted"),
    )


def curve_table(directory: RunDirectory) -> pd.DataFrame:
    """A row for each epoch of the stream: experience, epoch (from 1), training and validation loss and accuracy.

    Raises:
        CheckpointError: There is no metrics.csv.
    """
    if not directory.metrics.is_file():
        raise CheckpointError(f"Expected the training curves in {directory.metrics}, found no such file.")
    means, _, _ = through_stream(pd.read_csv(directory.metrics))
    return means.rename_axis(["experience", "epoch"]).reset_index()


def prediction_table(directory: RunDirectory, results: Results) -> pd.DataFrame:
    """A row for each test image after the last finished experience: index in the sample table, true and predicted class.

    ``confidence`` is the probability of the predicted class, ``experience`` the one whose test part the image is in.

    Raises:
        DataError: predictions.npz is missing or cannot be read.
    """
    found = read_predictions(directory.predictions, results.class_names, results.class_names)
    names, last = np.array(results.class_names, dtype=object), len(results.experiences) - 1
    table = pd.DataFrame(
        {
            "index": found.index,
            "true": names[found.label],
            "predicted": names[found.predicted[last]],
            "confidence": found.confidence[last],
            "correct": found.correct[last],
        }
    )
    optional = {"experience": found.part, "group": found.group}
    return table.assign(**{name: values for name, values in optional.items() if values is not None})
