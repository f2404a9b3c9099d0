"""The description of the data as one HTML page that loads nothing, runs no code and escapes names."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from torch import Tensor

from lightning_vision.data.leaks import LeakPair
from lightning_vision.data.sample_table import SPLITS
from lightning_vision.data_report.report import (
    MOST_CLASSES_SHOWN,
    SPLIT_NAMES,
    Crossing,
    DataReport,
    Histogram,
)
from lightning_vision.drawing.page_template import page_environment
from lightning_vision.drawing.thumbnail import jpeg_thumbnail
from lightning_vision.seeding import derive_seed
from lightning_vision.terminal.progress_bar import progress_bar
from lightning_vision.terminal.wording import figure, plural

if TYPE_CHECKING:
    from lightning_vision.data.datamodule import StreamDataModule
    from lightning_vision.data_report.checkpoint_labels import LabelReport

LARGE, SMALL = 160, 112
"""Longest side of a thumbnail in pixels, for few and for many thumbnails."""
MANY = 120
"""Number of thumbnails above which they are small, so that the page stays below about 5 MB."""
MOST_PAIRS = 30
MOST_DOUBTS = 24
"""Maximum number of doubtful labels that are shown."""
MOST_CELLS = 30_000
"""Maximum number of experiences in a table; the page reports omitted ones."""
MOST_FOLDERS = 200
"""Maximum number of rows in tables of folders, dates and extensions."""
MOST_PATHS = 50
"""Maximum number of files shown per reason."""
PIXELATED = 64
"""Images with shorter sides are enlarged without smoothing."""
PLOT_WIDTH, PLOT_HEIGHT = 300.0, 96.0


@dataclass(frozen=True)
class Thumbnail:
    """An image within the page."""

    uri: str
    width: int
    height: int
    alt: str
    pixelated: bool


@dataclass(frozen=True)
class Sample:
    """The network's input for an image, plain and augmented."""

    path: str
    split: str
    plain: Thumbnail
    augmented: Thumbnail


@dataclass(frozen=True)
class Side:
    """One image of a pair."""

    path: str
    split: str
    class_name: str
    image: Thumbnail


@dataclass(frozen=True)
class Pair:
    """Two copies or near copies."""

    words: str
    sides: tuple[Side, Side]


@dataclass(frozen=True)
class Doubt:
    """An image whose label is doubtful."""

    image: Side
    suggested: str
    given: float
    """Probability of the label that it has."""
    other: float
    """Probability of the suggested label."""
    neighbours: list[Side]


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram, in the units of the drawing."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Cell:
    """A count in a table of experiences."""

    count: int
    shade: float
    """Share of the row, from 0 to 1."""


def write_page(report: DataReport, datamodule: StreamDataModule, path: Path, labels: LabelReport | None = None) -> None:
    """Write the page.

    Args:
        report: The description of the data.
        datamodule: The data, for its images.
        path: The file; its folder is created.
        labels: The most doubtful labels; None: no checkpoint was given.
    """
    page = (
        page_environment()
        .get_template("data.html.j2")
        .render(_contents(report, datamodule, labels, f"{path.stem}-labels.csv"))
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _contents(
    report: DataReport, datamodule: StreamDataModule, labels: LabelReport | None, labels_table: str
) -> dict[str, Any]:
    rows = [row for chosen in report.examples.values() for row in chosen]
    pairs = report.leaks.pairs[:MOST_PAIRS]
    doubtful = 0 if labels is None else min(MOST_DOUBTS, len(labels.neighbours))
    side = LARGE if 2 * (len(rows) + len(pairs) + 2 * doubtful) <= MANY else SMALL
    with progress_bar("drawing the page", len(rows) + len(pairs) + doubtful) as advance:
        samples = {
            label: [_sample(datamodule, report, row, side, advance) for row in chosen]
            for label, chosen in report.examples.items()
            if chosen
        }
        shown_pairs = [_pair(datamodule, report, pair, side, advance) for pair in pairs]
        doubts = (
            [] if labels is None else [_doubt(datamodule, report, labels, n, side, advance) for n in range(doubtful)]
        )
    longest = max(1, int(report.counts.sum(axis=1).max(initial=0)))
    classes = [
        {
            "name": name,
            "counts": counts.tolist(),
            "shares": [round(100 * count / longest, 2) for count in counts.tolist()],
            "weight": None if report.class_weights is None else report.class_weights[label],
        }
        for label, (name, counts) in enumerate(zip(report.class_names, report.counts, strict=True))
    ]
    return {
        "report": report,
        "parts": [SPLIT_NAMES[part] for part in SPLITS],
        "splits": SPLITS,
        "split_names": SPLIT_NAMES,
        "classes": classes,
        "samples": samples,
        "most_classes": MOST_CLASSES_SHOWN,
        "batch_transforms": bool(datamodule.batch_transform),
        "histograms": [(histogram, _bars(histogram)) for histogram in report.sizes],
        "plot": {"width": PLOT_WIDTH, "height": PLOT_HEIGHT},
        "crossings": [_cells(crossing) for crossing in report.crossings],
        "pairs": shown_pairs,
        "labels": labels,
        "doubts": doubts,
        "labels_table": labels_table,
        "leaks": report.leaks.sentence(),
        "limits": report.leaks.limits(),
        "most_paths": MOST_PATHS,
        "most_folders": MOST_FOLDERS,
        "options": {name: _option(value) for name, value in report.options.items()},
    }


def _sample(
    datamodule: StreamDataModule, report: DataReport, row: int, side: int, advance: Callable[[], None]
) -> Sample:
    name, path = report.class_names[int(datamodule.samples["label"].iloc[row])], report.paths[row]
    seed = derive_seed(report.seed, "data page", "augmented", row)
    plain = _thumbnail(datamodule.preview(row), side, f"{name}, {path}, evaluation transform")
    augmented = _thumbnail(datamodule.preview(row, seed), side, f"{name}, {path}, training transform")
    advance()
    return Sample(path, _split(datamodule, row), plain, augmented)


def _pair(
    datamodule: StreamDataModule, report: DataReport, pair: LeakPair, side: int, advance: Callable[[], None]
) -> Pair:
    """A pair as whole images, because transforms may crop the common part."""
    sides = (_side(datamodule, report, pair.second, side), _side(datamodule, report, pair.first, side))
    advance()
    return Pair(_words(pair), sides)


def _doubt(
    datamodule: StreamDataModule,
    report: DataReport,
    labels: LabelReport,
    number: int,
    side: int,
    advance: Callable[[], None],
) -> Doubt:
    doubts, near = labels.doubts, labels.neighbours[number]
    found = Doubt(
        image=_side(datamodule, report, int(doubts.rows[number]), side),
        suggested=report.class_names[int(doubts.suggested[number])],
        given=float(doubts.given[number]),
        other=float(doubts.other[number]),
        neighbours=[_side(datamodule, report, row, side // 2) for row in near.rows.tolist()],
    )
    advance()
    return found


def _side(datamodule: StreamDataModule, report: DataReport, row: int, side: int) -> Side:
    name = report.class_names[int(datamodule.samples["label"].iloc[row])]
    split, path = _split(datamodule, row), report.paths[row]
    return Side(path, split, name, _thumbnail(datamodule.image(row), side, f"{path}, {split} data, {name}"))


def _words(pair: LeakPair) -> str:
    if pair.kind == "near":
        return f"The left image is a near copy of the right image ({plural(pair.distance, 'bit')} of 64 differ)"
    return {"exact": "The left image is a copy of the right image", "label": "Copies with different labels"}[pair.kind]


def _split(datamodule: StreamDataModule, row: int) -> str:
    return SPLIT_NAMES[str(datamodule.samples["split"].iloc[row])]


def _thumbnail(pixels: Tensor, side: int, alt: str) -> Thumbnail:
    """A JPEG of uint8 (3, h, w) as a data URI."""
    jpeg, (width, height) = jpeg_thumbnail(pixels, side)
    uri = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
    return Thumbnail(uri, width, height, alt, max(width, height) < PIXELATED)


def _bars(histogram: Histogram) -> list[Bar]:
    counts = histogram.counts
    width, most = PLOT_WIDTH / len(counts), max(1, int(counts.max(initial=0)))
    bars = []
    for number, count in enumerate(counts.tolist()):
        height = PLOT_HEIGHT * count / most
        height = max(height, 1.5) if count else 0.0  # a single image among thousands must be visible
        low, high = histogram.edges[number], histogram.edges[number + 1]
        title = f"{figure(low)} to {figure(high)} {histogram.unit}: {count:,}"
        bars.append(
            Bar(
                round(number * width, 2),
                round(PLOT_HEIGHT - height, 2),
                round(width * 0.92, 2),
                round(height, 2),
                title,
            )
        )
    return bars


def _cells(crossing: Crossing) -> dict[str, Any]:
    """Rows of classes or domains in the order of their first experience."""
    shown = max(3, min(len(crossing.counts), MOST_CELLS // max(1, len(crossing.names))))
    first = np.where(crossing.counts.any(axis=0), (crossing.counts > 0).argmax(axis=0), len(crossing.counts))
    totals = crossing.counts.sum(axis=0)
    rows = [
        {
            "name": crossing.names[number],
            "total": int(totals[number]),
            "cells": [
                Cell(count, round(count / max(1, int(totals[number])), 3))
                for count in crossing.counts[:shown, number].tolist()
            ],
        }
        for number in np.argsort(first, kind="stable").tolist()
    ]
    return {
        "title": crossing.title,
        "shown": min(shown, len(crossing.counts)),
        "all": len(crossing.counts),
        "rows": rows,
    }


def _option(value: Any) -> str:
    """An option on one line, as in a configuration file."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**9, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
