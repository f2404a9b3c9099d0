"""A matrix with a name for every row and column, readable with one to some hundred thousand cells."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from lightning_vision.drawing import canvas

_SMALLEST_PITCH = 0.115  # inches a row: names of 6.5 points just fit
_LONGEST_SIDE = 34.0  # inches, about 5,000 dots; beyond it only every n-th name is written
_LONGEST_NAME = 210.0  # points


@canvas.house_style()
def heatmap(
    percent: npt.NDArray[np.float64],
    row_names: Sequence[str],
    column_names: Sequence[str],
    *,
    axis_names: tuple[str, str],
    colours: Colormap,
    scale: Normalize,
    scale_name: str,
    title: str,
    subtitle: str,
    texts: Sequence[Sequence[str]] | None = None,
    margin: tuple[str, Sequence[str]] | None = None,
) -> Figure:
    """Draw the matrix; the figure grows with it, so names never overlap.

    Args:
        percent: (R, C); NaN is hatched.
        row_names: R names.
        column_names: C names.
        axis_names: Names of the axes of rows and columns.
        colours: The colour map.
        scale: The range and shape of the colour scale.
        scale_name: Label of the colour bar, with the unit.
        title: The title.
        subtitle: The text below the title.
        texts: (R, C) texts in the cells.
        margin: Heading and R texts to the right of the rows; omitted if there is no space for every row.
    """
    rows, columns = percent.shape
    longest = max(rows, columns)
    pitch = min(max(9.0 / longest, _SMALLEST_PITCH), max(0.6, 2.4 / longest), _LONGEST_SIDE / longest)  # inches a cell
    width, height = columns * pitch, rows * pitch
    zoom = max(1.0, longest * pitch / 9.0)  # words about the whole grow with the sheet, names of rows do not
    size = min(max(6.5, pitch * 72 * 0.75), 10.0)
    every = math.ceil(_SMALLEST_PITCH / pitch - 1e-6)

    # The axes fill the sheet, so that a cell has a known size; saving widens the sheet to what stands around them.
    figure = Figure(figsize=(width, height), dpi=canvas.DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.add_patch(Rectangle((-0.5, -0.5), columns, rows, facecolor=canvas.PAPER, hatch="////", linewidth=0, zorder=0))
    edges = np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5
    cells = axes.pcolormesh(
        *edges, percent, cmap=colours, norm=scale, zorder=1
    )  # large ones three times faster than imshow
    axes.set(xlim=edges[0][[0, -1]], ylim=edges[1][[-1, 0]])
    lines = {"color": "#DADADA", "linewidth": min(0.8, 2.5 * pitch), "zorder": 2}
    axes.hlines(np.arange(1, rows) - 0.5, -0.5, columns - 0.5, **lines)
    axes.vlines(np.arange(1, columns) - 0.5, -0.5, rows - 0.5, **lines)
    if texts is not None:
        _write_cells(axes, texts, cells.to_rgba(percent), pitch * 72)

    across = canvas.fit_names(column_names, size, _LONGEST_NAME)
    upright = max(canvas.text_width(name, size) for name in across) > 0.85 * pitch * every * 72
    axes.set_xticks(range(0, columns, every), across[::every], size=size, rotation=90 if upright else 0)
    axes.set_yticks(range(0, rows, every), canvas.fit_names(row_names, size, _LONGEST_NAME)[::every], size=size)
    axes.tick_params(length=0, pad=4)
    axes.set_ylabel(axis_names[0], size=11 * zoom, labelpad=8 * zoom)
    axes.set_xlabel(axis_names[1], size=11 * zoom, labelpad=8 * zoom)

    beyond = 0.0  # points to the right of the cells that are taken
    if margin is not None and every == 1:
        beyond = _write_margin(axes, *margin, size)
    length = min(height, 4.0 * zoom)
    left = 1 + (beyond / 72 + 0.2 * zoom) / width
    bar_axes = figure.add_axes((left, 1 - length / height, 0.18 * zoom / width, length / height))
    ticks = [0, 1, 5, 10, 25, 50, 75, 100] if isinstance(scale, PowerNorm) else None
    bar = figure.colorbar(cells, cax=bar_axes, ticks=ticks, format=FuncFormatter(lambda value, _: f"{value:g}"))
    bar.outline.set_linewidth(0)
    bar_axes.tick_params(labelsize=9 * zoom, length=3 * zoom)
    bar.set_label(scale_name, size=10 * zoom, labelpad=6 * zoom)

    full_width = width + beyond / 72 + 0.9 * zoom
    canvas.headline(axes, title, subtitle, zoom, max(full_width, 5.0), above=0.0 if margin is None else 14.0)
    return figure


def _write_cells(axes: Axes, texts: Sequence[Sequence[str]], colours: npt.NDArray[np.float64], pitch: float) -> None:
    """Write texts into cells of ``pitch`` points, light on dark colours (R, C, 4), in the largest size that fits all.

    Being inside, they need not be measured for the size of the sheet.
    """
    widest = max((canvas.text_width(text, 10.0) for row in texts for text in row), default=0.0)
    size = min(10.0, 10.0 * 0.84 * pitch / max(widest, 1.0), 0.5 * pitch)
    luminance = colours[..., :3] ** 2.2 @ np.array([0.2126, 0.7152, 0.0722])
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            if not text:
                continue
            ink = "white" if luminance[row, column] < 0.2 else canvas.INK
            where: dict[str, Any] = {"ha": "center", "va": "center_baseline", "in_layout": False}
            axes.text(column, row, text, size=size, color=ink, zorder=3, **where)


def _write_margin(axes: Axes, heading: str, texts: Sequence[str], size: float) -> float:
    """Write one text beside each row, right-aligned below a heading; return the width in points."""
    width = 8 + max(canvas.text_width(text, size) for text in (heading, *texts))
    where = axes.get_yaxis_transform()
    look: dict[str, Any] = {"size": size, "color": canvas.FAINT, "ha": "right"}
    axes.annotate(heading, (1, -0.5), (width, 3), where, "offset points", va="bottom", **look)
    for row, text in enumerate(texts):
        axes.annotate(text, (1, row), (width, 0), where, "offset points", va="center_baseline", **look)
    return width
