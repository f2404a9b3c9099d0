"""The figures and tables of a finished run, in its directory and in the loggers that take them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from lightning.pytorch.loggers import Logger
from torch import Tensor

from lightning_vision.results.predictions import Predictions
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.schema import Results
from lightning_vision.tracking.loggers import log_experience
from lightning_vision.tracking.stream_position import StreamPosition

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOGGED_AS = {
    "confusion_matrix": "confusion/heatmap",
    "accuracy_matrix": "stream/accuracy_matrix",
    "curves": "stream/curves",
    "sweep": "stream/sweep",
}
"""The name of each figure in the loggers."""


def draw_run(
    results: Results,
    experiences: Sequence[str],
    predictions: Predictions,
    load_image: Callable[[int], Tensor],
    directory: RunDirectory,
    loggers: Sequence[Logger] = (),
    position: StreamPosition | None = None,
) -> None:
    """Draw the figures of a run directory, and send them to the loggers.

    Args:
        results: The run after its last experience, or the one after which it stopped.
        experiences: The names of all experiences of the stream.
        predictions: The last ones on the test set, of the picked variant.
        load_image: The image of a row, uint8 (3, h, w).
        directory: The run directory.
        loggers: Those of W&B, TensorBoard and MLflow get the figures too.
        position: The last experience, for the loggers.
    """
    # matplotlib takes a second to load, and is needed only at the end of a run.
    from lightning_vision.drawing import canvas, figures

    folder, names = directory.path, results.class_names
    matrix, accuracy = results.test.confusion_matrix, np.array(results.accuracy_matrix, dtype=np.float64)
    figures.confusion_csv(matrix, names, folder / "confusion_matrix.csv")
    figures.accuracy_matrix_csv(accuracy, experiences, folder / "accuracy_matrix.csv")
    images: dict[str, Path] = {}
    for name, draw in figures_of(results, experiences, directory).items():
        images[LOGGED_AS[name]] = folder / f"{name}.png"
        canvas.save(draw(), folder / f"{name}.png")
    if draw_errors(predictions, load_image, names, folder / "errors.png"):
        images["examples/errors"] = folder / "errors.png"
    if position is not None:
        artifacts = {"confusion/matrix": folder / "confusion_matrix.csv"}
        log_experience(loggers, position, {}, images=images, artifacts=artifacts)


def figures_of(
    results: Results, experiences: Sequence[str], directory: RunDirectory
) -> dict[str, Callable[[], Figure]]:
    """Functions that draw the figures of a run, by the name of the file.

    Args:
        results: The run after an experience.
        experiences: The names of all experiences of the stream.
        directory: Has the training curves, if there are any.
    """
    from lightning_vision.drawing import figures

    title, accuracy = results.run.name, np.array(results.accuracy_matrix, dtype=np.float64)
    drawn: dict[str, Callable[[], Figure]] = {
        "confusion_matrix": lambda: figures.confusion_figure(
            results.test.confusion_matrix, results.class_names, f"{title}: test set after the last experience"
        ),
        "accuracy_matrix": lambda: figures.accuracy_matrix_figure(accuracy, experiences, title),
    }
    if directory.metrics.is_file():
        drawn["curves"] = lambda: figures.curves_figure(pd.read_csv(directory.metrics), experiences, title)
    steps = {
        name: variant.value
        for name, variant in results.variants.items()
        if variant.key == "epsilon" and isinstance(variant.value, float)
    }
    if len(steps) > 1 and len(steps) == len(results.variants):
        after = np.array([results.variants[name].test_accuracy[-1] for name in steps], dtype=np.float64)
        picked = steps.get((results.picked_variant or [None])[-1] or "")
        drawn["sweep"] = lambda: figures.sweep_figure(list(steps.values()), after, results.accuracy_before, picked)
    return drawn


def draw_errors(
    predictions: Predictions, load_image: Callable[[int], Tensor], names: Sequence[str], path: Path, most: int = 24
) -> bool:
    """Draw the most confident errors on the test set; return whether there are any."""
    from lightning_vision.drawing import canvas
    from lightning_vision.drawing.figures import errors_figure

    wrong = np.flatnonzero(predictions.predicted[0] != predictions.label)
    most_confident = wrong[np.argsort(-predictions.confidence[0][wrong], kind="stable")][:most]
    if not len(most_confident):
        path.unlink(missing_ok=True)
        return False
    images = [load_image(int(predictions.index[row])).numpy() for row in most_confident]
    captions = [
        (names[predictions.label[row]], names[predictions.predicted[0][row]], float(predictions.confidence[0][row]))
        for row in most_confident
    ]
    canvas.save(errors_figure(images, captions), path)
    return True
