"""Cases side by side as a PNG: the image, its maps, and a similar training image."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from lightning_vision.drawing import canvas

MOST_CASES = 24
"""In one PNG; the page shows all."""
SIDE, GAP, CAPTION, HEAD = 1.55, 0.08, 0.2, 0.42
"""Inches: an image, the space between two images, the caption of an image, the heading of a case."""
SPACE = 0.35
"""Inches between two cases side by side."""


@dataclass(frozen=True)
class Panel:
    """One image of a case."""

    caption: str
    pixels: Tensor
    """uint8 (3, H, W)."""


@dataclass(frozen=True)
class Case:
    """An image with its maps."""

    row: int
    """In the sample table."""
    path: str
    true: str
    predicted: str
    confidence: float
    """In the predicted class."""
    panels: tuple[Panel, ...]
    group: str = ""
    """Its heading in the section: a class, a confused pair, two experiences."""

    @property
    def right(self) -> bool:
        """Whether it was correctly classified."""
        return self.true == self.predicted

    def under(self, group: str) -> Case:
        """The case in a group of a section."""
        return replace(self, group=group)


@dataclass(frozen=True)
class Section:
    """Cases that belong together."""

    key: str
    """For file names and anchors."""
    title: str
    about: str
    cases: tuple[Case, ...]


@canvas.house_style()
def section_figure(section: Section) -> Figure:
    """Draw the first cases of a section, 24 at most: one row of panels per case, two cases side by side."""
    shown = section.cases[:MOST_CASES]
    columns = 2 if len(shown) > 3 else 1
    most = max(len(case.panels) for case in shown)
    wide = most * (SIDE + GAP) - GAP
    high = HEAD + SIDE + CAPTION + 0.12
    lines = math.ceil(len(shown) / columns)
    width, height = columns * (wide + SPACE) - SPACE, lines * high
    figure = Figure(figsize=(width, height), dpi=canvas.DPI)
    frame = figure.add_axes((0, 0, 1, 1))
    frame.set_axis_off()
    for number, case in enumerate(shown):
        line, column = divmod(number, columns)
        left, top = column * (wide + SPACE), height - line * high
        _write_head(figure, case, left / width, (top - HEAD + 0.06) / height, wide * 72)
        for place, panel in enumerate(case.panels):
            at = (left + place * (SIDE + GAP), top - HEAD - SIDE, SIDE, SIDE)
            _draw(figure, panel, (at[0] / width, at[1] / height, at[2] / width, at[3] / height))
    more = f" The first {len(shown)} of {len(section.cases)} are shown." if len(shown) < len(section.cases) else ""
    canvas.headline(frame, section.title, section.about + more, 1.0, width)
    return figure


def save_section_figure(section: Section, path: Path) -> None:
    """Writes ``section_figure`` as a PNG."""
    canvas.save(section_figure(section), path)


def _write_head(figure: Figure, case: Case, x: float, y: float, room: float) -> None:
    """The heading of a case: true and predicted class, and the file below."""
    ending = f" {100 * case.confidence:.1f} %"
    half = (room - canvas.text_width(f"✓   ✗ {ending}", 8.5)) / (1 if case.right else 2)
    true, predicted = (canvas.fit_name(name, 8.5, half) for name in (case.true, case.predicted))
    text = f"✓ {true}{ending}" if case.right else f"✓ {true}   ✗ {predicted}{ending}"
    colour = canvas.INK if case.right else canvas.RUST
    figure.text(x, y, f"{text}\n", size=8.5, color=colour, va="bottom")
    figure.text(x, y, canvas.fit_name(case.path, 7, room), size=7, color=canvas.FAINT, va="bottom")


def _draw(figure: Figure, panel: Panel, place: tuple[float, float, float, float]) -> None:
    axes = figure.add_axes(place)
    pixels = panel.pixels.permute(1, 2, 0).numpy()
    tall, wide = pixels.shape[:2]
    half = max(tall, wide) / 2
    axes.imshow(pixels, extent=(-wide / 2, wide / 2, -tall / 2, tall / 2))
    axes.set(xlim=(-half, half), ylim=(-half, half), xticks=[], yticks=[], facecolor=canvas.PAPER)
    axes.spines[:].set_visible(False)
    words = canvas.fit_name(panel.caption, 7, SIDE * 72)
    axes.annotate(words, (0, 0), (0, -4), "axes fraction", "offset points", size=7, color=canvas.FAINT, va="top")
