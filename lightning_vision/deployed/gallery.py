"""Predictions for a folder of images as one HTML page: no script, no network request; names from the disk are escaped."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import NamedTuple

from lightning_vision.deployed.prediction_table import PredictionTable
from lightning_vision.drawing.page_template import page_environment
from lightning_vision.drawing.thumbnail import jpeg_of
from lightning_vision.images.pillow_decoding import open_image, upright_rgb
from lightning_vision.storage.atomic_write import write_text_atomically

SIDE = 160
"""Longest side of a thumbnail, in pixels."""


class ClassRow(NamedTuple):
    """The counts of one class."""

    name: str
    predicted: int
    rejected: int
    in_folder: int
    """Images of which it is the true class."""
    right: int


def write_gallery(page: Path, table: PredictionTable) -> None:
    """Write the page.

    Args:
        page: The file.
        table: After it was written; the images that are shown are read once more.

    Raises:
        TrainingError: It cannot be written.
    """
    tally = table.tally
    counts = zip(tally.predicted, tally.rejected, tally.true, tally.right, strict=True)
    rows = [ClassRow(name, *map(int, row)) for name, row in zip(tally.class_names, counts, strict=True)]
    cases = {"unsure": tally.unsure, "errors": tally.errors}
    template = page_environment().get_template("predictions.html.j2")
    text = template.render(
        table=table,
        model=table.model,
        tally=tally,
        rows=sorted(
            (row for row in rows if row.predicted or row.in_folder), key=lambda row: (-row.predicted, row.name)
        ),
        kinds={
            kind: [(case, *_thumbnail(table.walk.file(case.path))) for case in found] for kind, found in cases.items()
        },
    )
    write_text_atomically(page, text)


def _thumbnail(file: Path) -> tuple[str, int, int]:
    """An image as a data URI, and its width and height."""
    with open_image(file) as opened:
        if opened.format == "JPEG":
            opened.draft("RGB", (2 * SIDE, 2 * SIDE))
        data, (width, height) = jpeg_of(upright_rgb(opened), SIDE)
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}", width, height
