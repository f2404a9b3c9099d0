"""The figures and tables of a run: confusion, accuracy matrix, learning curves, epsilon sweep, most confident errors.

Each ``*_figure`` draws and returns a figure without pyplot, which need not be closed; ``canvas.save`` writes it as a PNG.
Accuracies are passed as shares of 1 and shown in percent.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from lightning_vision.drawing import canvas
from lightning_vision.drawing.curves import curves_figure
from lightning_vision.drawing.heatmap import heatmap
from lightning_vision.errors import DataError
from lightning_vision.storage.sparse_counts import MOST_DENSE, SparseCounts

__all__ = [
    "accuracy_matrix_csv",
    "accuracy_matrix_figure",
    "confusion_csv",
    "confusion_figure",
    "curves_figure",
    "errors_figure",
    "sweep_figure",
]

_LARGEST_ANNOTATED_CONFUSION = 15  # classes
_LARGEST_CONFUSION = 250  # classes; each still has its name
_MOST_CONFUSED = 100  # classes of a larger one that are drawn
_LARGEST_ANNOTATED_ACCURACY = 20  # experiences
_MOST_ERRORS = 24


def confusion_csv(matrix: npt.ArrayLike | SparseCounts, class_names: Sequence[str], path: str | Path) -> None:
    """Write the counts with names.

    Up to 1,000 classes it is a row for each true class and a column for each predicted class. With more, it is a row for each
    pair of a true and a predicted class that has images.
    """
    found = _confusion(matrix, class_names)
    if found.size > MOST_DENSE:
        cells = zip(found.rows.tolist(), found.columns.tolist(), found.counts.tolist(), strict=True)
        named = ([class_names[true], class_names[taken_for], count] for true, taken_for, count in cells)
        canvas.write_rows(path, [["true", "predicted", "count"], *named])
        return
    counts = np.asarray(found)
    rows = ([name, *row] for name, row in zip(class_names, counts.tolist(), strict=True))
    canvas.write_rows(path, [["true \\ predicted", *class_names], *rows])


def confusion_figure(matrix: npt.ArrayLike | SparseCounts, class_names: Sequence[str], title: str = "") -> Figure:
    """Draw a confusion matrix. The colour is the share of the row, so rare classes are as visible as frequent ones.

    Of more than 250 classes, the 100 with the most errors are drawn.

    Args:
        matrix: (C, C) counts, rows true, columns predicted.
        class_names: The C names.
        title: The title, above the overall accuracy.

    Raises:
        DataError: The matrix is empty or has another number of classes.
    """
    found = _confusion(matrix, class_names)
    is_cut = found.size > _LARGEST_CONFUSION
    shown = found.most_confused(_MOST_CONFUSED) if is_cut else np.arange(found.size)
    names = [class_names[number] for number in shown]
    counts = found.part(shown, shown)
    support = found.support[shown]  # (C,)
    with np.errstate(invalid="ignore"):
        shares = 100 * counts / support[:, None]  # NaN where a class has no image
    small = len(counts) <= _LARGEST_ANNOTATED_CONFUSION
    right, total = int(found.correct.sum()), int(found.counts.sum())
    cut = f" · the {len(shown)} of {found.size:,} classes with the most errors" if is_cut else ""
    return heatmap(
        shares,
        names,
        names,
        axis_names=("true class", "predicted class"),
        colours=colormaps["Blues"],
        # Where no number stands in the cell, a confusion of 3 % would be lost on a linear scale.
        scale=Normalize(0, 100) if small else PowerNorm(0.5, 0, 100),
        scale_name="share of the true class (%)" + ("" if small else ", square-root scale"),
        title=title or "Confusion matrix",
        subtitle=f"{right:,} of {total:,} images correct ({100 * right / total:.1f} %){cut}" if total else "no images",
        texts=[[f"{count:,}" if count else "" for count in row] for row in counts.tolist()] if small else None,
        margin=("recall", ["-" if math.isnan(share) else f"{share:.0f} %" for share in np.diag(shares)]),
    )


def accuracy_matrix_csv(accuracy: npt.ArrayLike, experience_names: Sequence[str], path: str | Path) -> None:
    """Write R: a row for each learned experience, a column for each test part, and empty fields for undefined values."""
    table = _accuracy(accuracy, experience_names)
    rows = (["" if math.isnan(value) else value for value in row] for row in table.tolist())
    named = ([name, *row] for name, row in zip(experience_names, rows, strict=False))
    canvas.write_rows(path, [["after learning \\ test part", *experience_names], *named])


def accuracy_matrix_figure(
    accuracy: npt.ArrayLike, experience_names: Sequence[str], title: str = "", subtitle: str = ""
) -> Figure:
    """Draw the accuracy matrix R; undefined cells are hatched.

    Args:
        accuracy: (t, T) shares of 1, row t after experience t, column i on the test part of experience i; NaN (or None)
            if undefined. While the stream is running there are fewer rows than columns.
        experience_names: The T names.
        title: The title.
        subtitle: The text below the title.

    Raises:
        DataError: The matrix is empty or has another number of experiences.
    """
    table = 100 * _accuracy(accuracy, experience_names)
    defined = table[~np.isnan(table)]
    # To whole tens: differences of a few points stay visible, and runs of like quality share their scale.
    low, high = (math.floor(defined.min() / 10) * 10, math.ceil(defined.max() / 10) * 10) if defined.size else (0, 100)
    texts = None
    if max(table.shape) <= _LARGEST_ANNOTATED_ACCURACY:
        texts = [["" if math.isnan(value) else f"{value:.1f}" for value in row] for row in table.tolist()]
    notes = [subtitle.strip(), "hatched: not defined" if defined.size < table.size else ""]
    return heatmap(
        table,
        experience_names[: len(table)],
        experience_names,
        axis_names=("after learning experience", "test part of experience"),
        colours=colormaps["viridis"],
        scale=Normalize(min(low, 90), max(high, low + 10)),
        scale_name="accuracy (%)",
        title=title or "Accuracy matrix",
        subtitle=" · ".join(note for note in notes if note),
        texts=texts,
    )


@canvas.house_style()
def sweep_figure(
    epsilons: npt.ArrayLike, test_accuracy: npt.ArrayLike, base_accuracy: float | None, picked: float | None
) -> Figure:
    """Draw test accuracy over epsilon.

    Args:
        epsilons: (E,) at least 0, in any order; 0 is drawn at the left, separate from the logarithmic axis.
        test_accuracy: (E,) shares of 1 after the last experience; NaN if unknown.
        base_accuracy: Share of 1 before any update, drawn as a horizontal line; None or NaN draws none.
        picked: The epsilon that was selected on validation data; None marks none.

    Raises:
        DataError: The lengths differ or are 0, or an epsilon is negative or not finite.
    """
    steps, accuracies = np.asarray(epsilons, dtype=np.float64), 100 * np.asarray(test_accuracy, dtype=np.float64)
    if (
        steps.ndim != 1
        or steps.shape != accuracies.shape
        or not steps.size
        or not np.all((steps >= 0) & np.isfinite(steps))
    ):
        raise DataError(
            "A sweep needs at least one epsilon, finite and not negative, with one accuracy each; found the shapes "
            f"{steps.shape} and {accuracies.shape} with the epsilons {steps.tolist()}."
        )
    order = np.argsort(steps, kind="stable")
    steps, accuracies = steps[order], accuracies[order]
    positive = steps[steps > 0]
    zero_at = positive[0] / 10 if positive.size else 1.0  # where a log axis can show 0
    places = np.where(steps > 0, steps, zero_at)

    figure = Figure(figsize=(8, 4.4), dpi=canvas.DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xscale("log")
    dots: dict[str, Any] = {"color": canvas.BLUE, "marker": "o", "markersize": 5}
    axes.plot(places[steps > 0], accuracies[steps > 0], linewidth=1.8, label="after the last experience", **dots)
    axes.plot(places[steps == 0], accuracies[steps == 0], linestyle="none", **dots)
    if base_accuracy is not None and math.isfinite(base_accuracy):
        label = f"base, before any update ({100 * base_accuracy:.1f} %)"
        axes.axhline(100 * base_accuracy, color=canvas.INK, linestyle="--", linewidth=1.3, label=label)
    if picked is not None:
        nearest = int(np.argmin(np.abs(steps - picked)))
        axes.plot(
            places[nearest], accuracies[nearest], color=canvas.VERMILION, marker="o", markersize=13, linestyle="none",
            markerfacecolor="none", markeredgewidth=2.2,
            label=f"selected on validation data: {picked:.4g} ({accuracies[nearest]:.1f} %)",
        )  # fmt: skip
    axes.set_xlim(places[0] / 2, places[-1] * 2)
    if positive.size and math.log10(places[-1] / places[0]) < 2:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    else:
        axes.xaxis.set_major_locator(LogLocator(numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    has_zero = positive.size < steps.size
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: "0" if has_zero and math.isclose(value, zero_at) else f"{value:g}")
    )
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
    axes.margins(y=0.12)
    axes.grid(color="#DDDDDD", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("epsilon (step size, no unit)", size=11)
    axes.set_ylabel("test accuracy (%)", size=11)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=3, frameon=False, fontsize=9.5, columnspacing=1.4)
    canvas.headline(axes, "Accuracy by epsilon", "", 1.0, 8.0, above=20)
    return figure


@canvas.house_style()
def errors_figure(images: Sequence[npt.NDArray[np.uint8]], captions: Sequence[tuple[str, str, float]]) -> Figure:
    """Draw the most confident errors, in descending order of confidence, 24 at most.

    Args:
        images: Each (H, W, 3), (3, H, W) or (H, W), uint8, of any size.
        captions: For each image the true class, the predicted class, and its confidence as a share of 1.

    Raises:
        DataError: The lengths differ, or an image has another shape.
    """
    if len(images) != len(captions):
        raise DataError(f"Every image needs a caption; found {len(images)} images and {len(captions)} captions.")
    shown = sorted(range(len(images)), key=lambda number: -captions[number][2])[:_MOST_ERRORS]
    columns = max(1, min(4, math.ceil(math.sqrt(len(shown)))))
    rows = max(1, math.ceil(len(shown) / columns))
    side, gap, words = 2.6, 0.25, 0.55  # inches: an image, the space between two, its caption
    width, height = columns * (side + gap) - gap, rows * (side + words) - 0.1
    figure = Figure(figsize=(width, height), dpi=canvas.DPI)
    axes = figure.add_axes((0, 0, 1, 1))  # of all images, in inches: axes for each would take longer than all the rest
    axes.set(xlim=(0, width), ylim=(0, height), autoscale_on=False)
    axes.set_axis_off()
    for position, number in enumerate(shown):
        row, column = divmod(position, columns)
        left, bottom = column * (side + gap), height - row * (side + words) - side
        axes.add_patch(Rectangle((left, bottom), side, side, facecolor=canvas.PAPER, linewidth=0, zorder=-1))
        image = _channels_last(np.asarray(images[number]))
        tall, wide = (side * length / max(image.shape[:2]) for length in image.shape[:2])
        x, y = left + (side - wide) / 2, bottom + (side - tall) / 2
        axes.imshow(image, extent=(x, x + wide, y, y + tall), cmap="gray", vmin=0, vmax=255, aspect="auto")
        true, predicted, confidence = captions[number]
        ending = f", {100 * confidence:.1f} %"
        room = side * 72
        lines = (
            (canvas.fit_name(f"✗ {predicted}", 8.5, room - canvas.text_width(ending, 8.5)) + ending, canvas.RUST, -5),
            (canvas.fit_name(f"✓ {true}", 8.5, room), canvas.INK, -18),
        )
        for (
            text,
            colour,
            below,
        ) in lines:  # inside the axes, so that they need not be measured for the size of the sheet
            look: dict[str, Any] = {"size": 8.5, "color": colour, "va": "top", "in_layout": False}
            axes.annotate(text, (left, bottom), (0, below), "data", "offset points", **look)
    more = (
        f", the {len(shown)} most confident of {len(images)}" if len(shown) < len(images) else ", most confident first"
    )
    subtitle = "✗ predicted class with its confidence, ✓ true class" + more
    canvas.headline(axes, "Errors" if shown else "No errors", subtitle if shown else "", 1.0, max(width, 4.0))
    return figure


def _channels_last(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    if image.ndim == 3 and image.shape[0] == 3 and image.shape[2] != 3:
        image = np.moveaxis(image, 0, -1)
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or not image.size:
        raise DataError(f"An image must be (H, W, 3), (3, H, W) or (H, W); found the shape {image.shape}.")
    return image


def _confusion(matrix: npt.ArrayLike | SparseCounts, names: Sequence[str]) -> SparseCounts:
    counts = matrix if isinstance(matrix, SparseCounts) else np.asarray(matrix)
    if counts.shape != (len(names), len(names)) or not names:
        raise DataError(
            f"A confusion matrix needs a row and a column for each of the {len(names)} class names; found the shape "
            f"{counts.shape}. Pass the names of its classes."
        )
    return SparseCounts.of(counts)


def _accuracy(accuracy: npt.ArrayLike, names: Sequence[str]) -> npt.NDArray[np.float64]:
    table = np.asarray(accuracy, dtype=np.float64)  # None becomes NaN
    if table.ndim != 2 or not table.size or table.shape[1] != len(names) or len(table) > len(names):
        raise DataError(
            f"An accuracy matrix needs a column for each of the {len(names)} experience names and from 1 to "
            f"{len(names)} rows; found the shape {table.shape}. Pass the names of the stream's experiences."
        )
    return table
