"""Label Studio: a JSON file (or JSON-MIN) with the tasks and what annotators said of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pandas as pd

from datamodules.documents import read_json
from datamodules.label_formats.turned_shapes import around_ellipse, around_rectangle
from datamodules.label_rows import LabelRows, check_box, make_rows
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError
from lightning_vision.images.image_files import EXTENSIONS

IMAGE_KEYS = ("image", "img", "photo", "picture", "url", "image_url", "captioning")
REGIONS = ("rectanglelabels", "polygonlabels", "ellipselabels", "brushlabels", "keypointlabels")
NOT_LABELS = {*IMAGE_KEYS, "id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time"}
UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio writes before the name of an uploaded file."""


def is_label_studio(document: Any) -> bool:
    """Whether a JSON document is an export of Label Studio, in either form."""
    if not isinstance(document, list) or not document or not isinstance(document[0], dict):
        return False
    task = document[0]
    whole = isinstance(task.get("data"), dict) and ("annotations" in task or "completions" in task)
    return whole or ("annotation_id" in task and "lead_time" in task)


def read_label_studio(file: Path, folder: str, problems: DataProblems) -> LabelRows:
    """Read an export: a row for each choice, which labels the whole image, and for each region, with its box.

    Cancelled annotations and predictions are not used. Of several annotations of one task, the one marked as ground
    truth is used; without one, they must agree.

    Args:
        file: The file.
        folder: Its folder, from the data's root.
        problems: Where problems go.

    Raises:
        DataError: It is not such a file.
    """
    document = read_json(file)
    if not is_label_studio(document):
        raise DataError(f"{file} is not an export of Label Studio (JSON or JSON-MIN).")
    found: list[dict[str, Any]] = []
    others: list[str] = []
    for number, task in enumerate(document, start=1):
        place = f"{file.name} task {number}"
        facts = task.get("data", task) if isinstance(task, dict) else None
        url = _image_of(facts) if isinstance(facts, dict) else None
        if url is None:
            problems.problem(f"{place}: it names no image (expected one of {', '.join(IMAGE_KEYS)})")
            continue
        name = file_name_of(url)
        rows = _of_task(task, place, problems) if "data" in task else _of_flat_task(task, place, problems)
        row = {"name": name, "label": None, "file": file.name, "number": number}
        found += [row | labels for labels in rows] or [row]
        # A file that was uploaded has another name in the export than on the disk of who uploaded it.
        others += [UPLOADED.sub("", name.rpartition("/")[2], count=1)] * max(1, len(rows))
    table = make_rows(found, boxes=any("x1" in row for row in found))
    return LabelRows(table, "Label Studio", "task", file, folder, pd.Series(others, index=table.index, dtype="str"))


def file_name_of(url: str) -> str:
    """The path that a task's address names: of ``/data/local-files/?d=``, of an upload, of s3, http or file addresses."""
    parts = urlsplit(url)
    if given := parse_qs(parts.query).get("d"):
        return unquote(given[0]).lstrip("/")
    path = unquote(parts.path) if parts.scheme not in ("", "c", "d") else unquote(url.partition("?")[0])
    if "/data/upload/" in path or parts.scheme in ("http", "https", "s3", "gs", "azure-blob"):
        return path.rpartition("/")[2]
    return path


def _image_of(facts: dict[str, Any]) -> str | None:
    usual = [facts[key] for key in IMAGE_KEYS if key in facts]
    texts = [value for value in (usual or facts.values()) if isinstance(value, str)]
    images = [text for text in texts if Path(urlsplit(text).path).suffix.lower() in EXTENSIONS or "?d=" in text]
    return next(iter(images or (texts if usual else [])), None)


def _of_task(task: dict[str, Any], place: str, problems: DataProblems) -> list[dict[str, Any]]:
    """What the annotation of a task says; nothing if there is none."""
    given = [
        item
        for item in task.get("annotations") or task.get("completions") or []
        if isinstance(item, dict) and not item.get("was_cancelled")
    ]
    given = [item for item in given if item.get("ground_truth")][:1] or given
    said = [_results(item.get("result") or [], place, problems) for item in given]
    if any(rows != said[0] for rows in said[1:]):
        problems.problem(f"{place}: its {len(said)} annotations differ. Mark one as ground truth, or remove the others")
        return []
    return said[0] if said else []


def _results(results: list[Any], place: str, problems: DataProblems) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for item in results:
        value = item.get("value") if isinstance(item, dict) else None
        if not isinstance(value, dict):
            continue
        size = (item.get("original_width"), item.get("original_height"))
        rows += _values(value, size, place, problems)
    return rows


def _values(value: dict[str, Any], size: tuple[Any, Any], place: str, problems: DataProblems) -> list[dict[str, Any]]:
    if isinstance(value.get("choices"), list):
        return [{"label": str(choice)} for choice in value["choices"]]
    kind = next((name for name in REGIONS if isinstance(value.get(name), list)), None)
    if kind is None:
        return []
    if kind in ("brushlabels", "keypointlabels"):
        problems.leave_out(f"regions of kind {kind}, which have no box")
        return []
    if not all(isinstance(side, int | float) and side > 0 for side in size):
        problems.problem(f"{place}: a region without original_width and original_height")
        return []
    corners = _corners(value, *size)
    if not check_box(corners, place, problems):
        return []
    sides = dict(zip(("x1", "y1", "x2", "y2"), corners, strict=True))
    return [{"label": str(label), **sides} for label in value[kind]]


def _corners(value: dict[str, Any], width: float, height: float) -> list[float]:
    """The box around a region, in pixels, of its numbers in per cent of the image; nothing if these are none."""
    try:
        if "points" in value:
            xs, ys = zip(*((float(x), float(y)) for x, y in value["points"]), strict=True)
            return _pixels([min(xs), min(ys), max(xs), max(ys)], width, height)
        x, y, turned = float(value["x"]), float(value["y"]), float(value.get("rotation") or 0)
        if "radiusX" in value:
            x, y, rx, ry = _pixels([x, y, float(value["radiusX"]), float(value["radiusY"])], width, height)
            return around_ellipse(x, y, rx, ry, turned)
        box = _pixels([x, y, x + float(value["width"]), y + float(value["height"])], width, height)
        return around_rectangle(box, turned, about=(box[0], box[1]))
    except (KeyError, TypeError, ValueError):
        return []


def _pixels(shares: list[float], width: float, height: float) -> list[float]:
    return [share / 100 * side for share, side in zip(shares, (width, height, width, height), strict=True)]


def _of_flat_task(task: dict[str, Any], place: str, problems: DataProblems) -> list[dict[str, Any]]:
    """What a task of a JSON-MIN file says."""
    rows: list[dict[str, Any]] = []
    for key, value in task.items():
        if key in NOT_LABELS or value is None:
            continue
        if isinstance(value, str):
            rows.append({"label": value})
        elif isinstance(value, dict) and isinstance(value.get("choices"), list):
            rows += [{"label": str(choice)} for choice in value["choices"]]
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    rows += _values(item, (item.get("original_width"), item.get("original_height")), place, problems)
    return rows
