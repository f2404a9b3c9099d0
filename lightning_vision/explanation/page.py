"""The galleries and figures as one HTML page that loads nothing and runs no code."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from lightning_vision.drawing.page_template import page_environment
from lightning_vision.drawing.thumbnail import jpeg_thumbnail
from lightning_vision.explanation.gallery import Case, Section
from lightning_vision.storage.atomic_write import write_text_atomically

SIDE = 176
"""Longest side of an image on the page, in pixels."""
PIXELATED = 64
"""Images with shorter sides are enlarged without smoothing."""
COLUMNS = {
    "box_share": "share in the box",
    "box_area": "area of the box",
    "pointing": "pointing game",
    "saliency_share": "mean saliency",
    "saliency_mean": "of a uniform map",
    "drop": "average drop",
    "increase": "confidence increased",
}
"""The figures of a table in percent, and their titles."""


@dataclass(frozen=True)
class Facts:
    """Facts about the checkpoint and its images."""

    checkpoint: str
    part: str
    images: int
    right: int
    left_out: int
    """Images of classes that were not seen."""
    method: str
    layer: str
    notes: list[str]


def write_page(facts: Facts, sections: list[Section], figures: pd.DataFrame | None, path: Path) -> None:
    """Write the page.

    Args:
        facts: Facts about the checkpoint and its images.
        sections: Its galleries.
        figures: The means of ``scores.summarise``; None if nothing was measured.
        path: The file.
    """
    shown = [
        {
            "key": section.key,
            "title": section.title,
            "about": section.about,
            "groups": [
                (name, [_case(case) for case in found]) for name, found in groupby(section.cases, lambda c: c.group)
            ],
        }
        for section in sections
    ]
    template = page_environment().get_template("explain.html.j2")
    write_text_atomically(path, template.render(facts=facts, sections=shown, table=_table(figures)))


def _case(case: Case) -> dict[str, Any]:
    return {
        "path": case.path,
        "true": case.true,
        "predicted": case.predicted,
        "right": case.right,
        "confidence": f"{100 * case.confidence:.1f} %",
        "panels": [
            {"caption": panel.caption, **_image(panel.pixels, f"{case.path}: {panel.caption}")} for panel in case.panels
        ],
    }


def _image(pixels: Any, alt: str) -> dict[str, Any]:
    jpeg, (width, height) = jpeg_thumbnail(pixels, SIDE)
    uri = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
    return {"uri": uri, "width": width, "height": height, "alt": alt, "pixelated": max(width, height) <= PIXELATED}


def _table(figures: pd.DataFrame | None) -> dict[str, Any] | None:
    """The columns that have a figure, and a row for each group that has an image."""
    if figures is None:
        return None
    known = [name for name in COLUMNS if figures[name].notna().any()]
    rows = [
        {
            "class": row["class"],
            "answers": row["answers"],
            "images": int(row["images"]),
            "empty": int(row["empty_maps"]),
            "cells": ["" if math.isnan(row[name]) else f"{100 * row[name]:.1f} %" for name in known],
        }
        for row in figures.to_dict("records")
        if row["images"]
    ]
    return {
        "columns": [COLUMNS[name] for name in known],
        "overall": [row for row in rows if pd.isna(row["class"])],
        "classes": [row for row in rows if pd.notna(row["class"])],
    }
