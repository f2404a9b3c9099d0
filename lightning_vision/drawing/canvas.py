"""Common parts of all figures: style, names that fit, atomic files."""

import csv
import functools
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, TextIO, cast

from matplotlib import font_manager, style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from lightning_vision.storage.atomic_write import replacing

# Okabe and Ito's colours, which can be distinguished with common colour blindness: https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
INK, FAINT, PAPER = "#222222", "#6B6B6B", "#F1F1F1"
RUST = "#A84300"  # vermilion dark enough for small letters on white
DPI = 150

# DejaVu Sans comes with matplotlib and has no Chinese, Japanese or Korean; these are taken where the system has them.
_WIDER_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "Arial Unicode MS",
)

# Such a character is drawn as a box, which needs no warning: the CSV beside the figure spells the name out.
_MISSING = "Glyph .* missing from"


@functools.cache
def _fonts() -> list[str]:
    installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in _WIDER_FONTS if name in installed)]


@contextmanager
def house_style() -> Iterator[None]:
    """Our style instead of the user's matplotlibrc, as a decorator or context manager. Text is not parsed as LaTeX."""
    look = {
        "text.parse_math": False,  # a class may be called "$100_bill"
        "font.family": _fonts(),
        "text.color": INK,
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "hatch.linewidth": 0.6,
        "hatch.color": "#C4C4C4",
    }
    with style.context(look, after_reset=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_MISSING, category=UserWarning)
        yield


@functools.cache
def _ruler() -> RendererAgg:
    return RendererAgg(1, 1, DPI)  # type: ignore[no-untyped-call]


@functools.lru_cache(maxsize=10_000)
def text_width(text: str, size: float) -> float:
    """Width in points of one line of text at a font size in points, in the fonts of ``house_style``.

    The names of classes and experiences are measured again for each figure and each run of a comparison.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_MISSING, category=UserWarning)
        font = FontProperties(family=_fonts(), size=size)
        dots, _, _ = _ruler().get_text_width_height_descent(text, font, ismath=False)  # type: ignore[no-untyped-call]
    return float(dots) * 72 / DPI


def fit_name(name: str, size: float, width: float) -> str:
    """The name on one line, shortened in the middle if it is wider than ``width`` points."""
    line = "".join(character for character in " ".join(name.split()) if character.isprintable()) or "?"
    if len(line) > 400:
        line = line[:200] + line[-200:]
    fitted, kept = line, len(line)
    while (found := text_width(fitted, size)) > width and kept > 2:
        kept = max(2, min(kept - 1, int(kept * width / found)))
        fitted = f"{line[: (kept + 1) // 2].rstrip()}…{line[len(line) - kept // 2 :].lstrip()}"
    return fitted


def fit_names(names: Sequence[str], size: float, width: float) -> list[str]:
    """``fit_name`` for each name; names that become equal get their position."""
    fitted = [fit_name(name, size, width) for name in names]
    times = Counter(fitted)
    return [f"{text} #{place}" if times[text] > 1 else text for place, text in enumerate(fitted)]


def headline(axes: Axes, title: str, subtitle: str, zoom: float, width: float, above: float = 0.0) -> None:
    """Write a title and a subtitle, left-aligned above the axes.

    Args:
        axes: The axes.
        title: The title, bold and wrapped.
        subtitle: The text below the title; may be empty.
        zoom: Factor on the font sizes, for large figures.
        width: Maximum length of a line in inches.
        above: Space between the axes and the text in points.
    """
    offset = above + 8 * zoom
    for text, size, weight in ((subtitle, 9.5 * zoom, "normal"), (title, 12.5 * zoom, "bold")):
        if not text.strip():
            continue
        clean = fit_name(text, size, width * 72 * 4)
        lines = textwrap.wrap(clean, max(20, int(width * 72 / (0.62 * size))))
        axes.annotate(
            "\n".join(lines),
            (0, 1),
            (0, offset),
            "axes fraction",
            "offset points",
            size=size,
            weight=weight,
            va="bottom",
        )
        offset += len(lines) * size * 1.3 + 3 * zoom


def save(figure: Figure, path: str | Path) -> None:
    """Write the figure as a PNG, cropped to its content. If the write is interrupted, the former file remains."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=False) as draft:
        # The fastest compression: photographs take a second by the default one, and become little smaller.
        draft.write_bytes(png(figure, compress_level=1))


@house_style()
def png(figure: Figure, dpi: float | None = None, compress_level: int = 6) -> bytes:
    """The figure as a PNG, cropped to its content.

    Args:
        figure: Not changed.
        dpi: Dots per inch; None: the figure's own.
        compress_level: From 1, the fastest, to 9.
    """
    # Asked for bbox_inches="tight", matplotlib would draw everything once more to measure it.
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    extent = figure.get_tightbbox(renderer).padded(0.15)  # inches
    drawn = BytesIO()
    # Without the version of matplotlib in it, the same numbers give the same file.
    options: dict[str, Any] = {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": compress_level}}
    figure.savefig(drawn, format="png", bbox_inches=extent, dpi=dpi or "figure", **options)
    return drawn.getvalue()


def write_rows(path: str | Path, rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file atomically; lone surrogates in file names are written as escapes."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        replacing(path, durable=False) as draft,
        draft.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        csv.writer(cast(TextIO, stream), lineterminator="\n").writerows(rows)
