"""Loss and accuracy over all epochs of a stream, with its experiences marked."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lightning_vision.drawing import canvas

_LOGGED = ("train/loss", "val/loss", "train/accuracy", "val/accuracy")
_LOOKS = {
    "train": ("training", canvas.BLUE, "o", "-"),
    "val": ("validation", canvas.ORANGE, "s", "-"),
    "test": ("test, whole test set", canvas.GREEN, "D", "--"),
}
_NAME_SIZE = 8.5  # points


@canvas.house_style()
def curves_figure(metrics: pd.DataFrame, experience_names: Sequence[str], title: str = "") -> Figure:
    """Draw loss and accuracy over the epochs of the whole stream, with a named band for each experience.

    Args:
        metrics: Logged values or NaN in the columns "stream/experience", "epoch" (counted from 0 in each experience),
            "stream/step", "train/loss", "val/loss", "train/accuracy", "val/accuracy", "test/accuracy". The figure names
            missing or empty columns. Several values of one epoch are averaged.
        experience_names: Name of each experience.
        title: The title.
    """
    epochs, tests, bands = through_stream(metrics)
    names = [*experience_names[: len(bands)], *(f"experience {e}" for e in range(len(experience_names), len(bands)))]
    width = min(16.0, max(9.0, 0.35 * len(bands)))  # inches
    figure = Figure(figsize=(width, 6.4), dpi=canvas.DPI)
    losses, accuracies = figure.subplots(2, 1, sharex=True, gridspec_kw={"hspace": 0.09})
    figure.subplots_adjust(0, 0, 1, 1)  # saving widens the sheet to what stands around the panels
    for axes, quantity in ((losses, "loss"), (accuracies, "accuracy")):
        _draw_bands(axes, bands)
        factor = 100 if quantity == "accuracy" else 1
        drawn = [_draw_line(axes, epochs, f"{part}/{quantity}", factor) for part in ("train", "val")]
        if quantity == "accuracy" and len(tests):
            drawn.append(_draw_line(axes, tests, "test/accuracy", factor))
        if not any(drawn):
            axes.text(
                0.5, 0.5, f"no {quantity} was logged", transform=axes.transAxes, ha="center", va="center", size=12
            )
            axes.set_yticks([])
        axes.legend(loc="upper left", bbox_to_anchor=(1.005, 1.02), frameon=False, fontsize=9.5)
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9.5)
    losses.set_ylabel("loss", size=11)
    accuracies.set_ylabel("accuracy (%)", size=11)
    figure.align_ylabels()
    accuracies.set_xlabel("epoch, counted through the whole stream", size=11)
    accuracies.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    accuracies.set_xlim(0.5, bands[-1][1] + 0.5 if bands else 1.5)
    losses.tick_params(axis="x", length=0)
    taken = _write_names(losses, names, bands, width * 72)
    canvas.headline(losses, title or "Learning curves", "", 1.0, width, above=taken)
    return figure


def through_stream(metrics: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, list[tuple[int, int]]]:
    """Count epochs through the whole stream, from 1; an experience without epochs counts as one.

    Returns:
        The means of each epoch, indexed by (experience, epoch of the stream); the test accuracy after each experience,
        indexed alike; and for each experience the number of epochs before it and the number up to its end.
    """
    wanted = ("stream/experience", "epoch", "stream/step", *_LOGGED, "test/accuracy")
    table = metrics.reindex(columns=list(wanted)).apply(pd.to_numeric, errors="coerce")
    table = table.astype("float64").replace([np.inf, -np.inf], np.nan)
    # A row that does not say where it belongs belongs to the row before it.
    table["stream/experience"] = table["stream/experience"].ffill().bfill().fillna(0).astype("int64")
    experience = table["stream/experience"]
    tests = table["test/accuracy"].groupby(experience).last().dropna()

    table = table.dropna(how="all", subset=list(_LOGGED))
    table["stream/step"] = table["stream/step"].ffill().fillna(0)
    table = table.sort_values(["stream/experience", "stream/step"], kind="stable")
    experience = table["stream/experience"]
    epoch = table["epoch"].groupby(experience).ffill().fillna(0)
    # A strategy that learns in stages begins each of them with epoch 0.
    before = epoch.groupby(experience).shift()
    epoch += (before + 1).where(epoch < before, 0).groupby(experience).cumsum()

    ends = epoch.groupby(experience).max() + 1
    last = max([*experience, *tests.index], default=-1)
    lengths = ends.reindex(range(last + 1)).fillna(1).astype("int64").to_numpy()
    stops = np.cumsum(lengths)
    starts = stops - lengths
    table["at"] = starts[experience] + epoch + 1
    means = table.groupby(["stream/experience", "at"])[list(_LOGGED)].mean()
    places = pd.MultiIndex.from_arrays([tests.index, stops[tests.index]], names=means.index.names)
    return means, pd.DataFrame({"test/accuracy": tests.to_numpy()}, places), list(zip(starts, stops, strict=True))


def _draw_bands(axes: Axes, bands: Sequence[tuple[int, int]]) -> None:
    for start, stop in bands[1::2]:
        axes.axvspan(start + 0.5, stop + 0.5, color=canvas.PAPER, linewidth=0, zorder=0)


def _draw_line(axes: Axes, table: pd.DataFrame, column: str, factor: float) -> bool:
    """Draw one quantity, strong within an experience and faint across borders, or a note if there is none."""
    part = column.partition("/")[0]
    label, colour, marker, dash = _LOOKS[part]
    values = table[column].dropna() * factor
    if values.empty:
        axes.plot([], [], linestyle="none", label=f"{label}: not logged")
        return False
    at = values.index.get_level_values(1)
    few = len(values) <= 80
    if part == "test":
        axes.plot(
            at, values, color=colour, marker=marker, markersize=5 if few else 3, linestyle=dash, lw=1.2, label=label
        )
        return True
    axes.plot(at, values, color=colour, linewidth=0.8, alpha=0.35)
    for number, (_, piece) in enumerate(values.groupby(level=0)):
        axes.plot(
            piece.index.get_level_values(1), piece, color=colour, linestyle=dash, linewidth=1.8 if few else 1.0,
            marker=marker if few or len(piece) == 1 else "", markersize=4.5 if few else 2.5,
            label=label if number == 0 else None,
        )  # fmt: skip
    return True


def _write_names(axes: Axes, names: Sequence[str], bands: Sequence[tuple[int, int]], width: float) -> float:
    """Write the names above their bands, vertical and spread if the bands are narrow; return the height in points."""
    if not bands:
        return 0.0
    scale = width / bands[-1][1]  # points an epoch
    centres = np.array([(start + stop) / 2 * scale for start, stop in bands])
    fitted = canvas.fit_names(names, _NAME_SIZE, 150)
    widths = [canvas.text_width(name, _NAME_SIZE) for name in fitted]
    if all(w < 0.95 * (stop - start) * scale for w, (start, stop) in zip(widths, bands, strict=True)):
        for name, centre in zip(fitted, centres, strict=True):
            axes.annotate(
                name, (centre / width, 1), (0, 4), "axes fraction", "offset points", size=_NAME_SIZE, ha="center"
            )
        return 1.4 * _NAME_SIZE
    gap = 1.5 * _NAME_SIZE
    # As many names as stand near enough to their bands for a leader to be followed by eye.
    for every in range(1, len(bands) + 1):
        kept = np.arange(0, len(bands), every)
        places = _spread(centres[kept], gap, width)
        if np.abs(places - centres[kept]).max() <= 4 * gap and places[0] >= 0:
            break
    leader = {
        "arrowstyle": "-",
        "color": canvas.FAINT,
        "linewidth": 0.6,
        "relpos": (0.5, 0),
        "shrinkA": 1,
        "shrinkB": 0,
    }
    foot = 1 + 14 * canvas.DPI / 72 / axes.bbox.height  # 14 points above the panel
    for number, place in zip(kept, places, strict=True):
        axes.annotate(
            fitted[number], (centres[number] / width, 1), (place / width, foot), "axes fraction", "axes fraction",
            rotation=90, size=_NAME_SIZE, ha="center", va="bottom", arrowprops=leader,
        )  # fmt: skip
    return 16 + max(widths[number] for number in kept)


def _spread(places: npt.NDArray[np.float64], gap: float, width: float) -> npt.NDArray[np.float64]:
    """Move ascending positions apart until neighbours have the distance ``gap``, within the width if possible."""
    spread = places.copy()
    for i in range(1, len(spread)):
        spread[i] = max(spread[i], spread[i - 1] + gap)
    spread[-1] = min(spread[-1], max(width, places[-1]))
    for i in range(len(spread) - 2, -1, -1):
        spread[i] = min(spread[i], spread[i + 1] - gap)
    return spread
