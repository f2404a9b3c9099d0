"""Figures that are drawn when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from matplotlib.figure import Figure

from lightning_vision.drawing import canvas
from lightning_vision.errors import ConfigError
from lightning_vision.terminal.wording import listed

SHOWN_DPI = 80
"""Dots per inch of a figure in a notebook."""


class ShownFigure(Figure):
    """A figure that a notebook shows, whether pyplot is loaded or not."""

    def _repr_png_(self) -> bytes:
        return canvas.png(self, SHOWN_DPI)


class LazyFigures(Mapping[str, Figure]):
    """matplotlib Figures by name, each drawn anew when it is asked for; none is registered with pyplot.

    Args:
        draw: What draws each.
    """

    def __init__(self, draw: Mapping[str, Callable[[], Figure]]) -> None:
        self._draw = draw

    def __getitem__(self, name: str) -> Figure:
        if name not in self._draw:
            raise UnknownFigureError(f"Expected one of {listed(list(self._draw))}, found {name!r}.")
        figure = self._draw[name]()
        figure.__class__ = ShownFigure
        return figure

    def __iter__(self) -> Iterator[str]:
        return iter(self._draw)

    def __len__(self) -> int:
        return len(self._draw)

    def __contains__(self, name: object) -> bool:
        return name in self._draw

    def __repr__(self) -> str:
        return f"LazyFigures({', '.join(self._draw)})"


class UnknownFigureError(ConfigError, KeyError):
    """There is no figure of that name."""

    __str__ = Exception.__str__  # a KeyError would show its text in quotes
