"""CVAT for video 1.1: one XML file with an element for each tracked object, and in it a shape for each frame."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from datamodules.label_formats.cvat_shapes import OUTLINES, corners_of
from datamodules.label_rows import LabelRows, check_box, make_rows
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import listed

FRAME = re.compile(r"frame_(\d{6,})")
"""The names that CVAT gives the frames of a video, without suffix; they count from 0."""


def read_tracks(
    root: ElementTree.Element, file: Path, folder: str, images: Sequence[str], problems: DataProblems
) -> LabelRows:
    """Read the tracks of a video: a row for each shape in a frame that is an image below the file's folder.

    CVAT exports a shape for every frame, those between key frames too, so that nothing has to be interpolated. A shape
    with ``outside`` says that the object has left the image. Frames of a video are near copies: it is their ``group``.

    Args:
        root: The root element of the file.
        file: The file.
        folder: Its folder, from the data's root.
        images: The images, by path from the data's root.
        problems: Where problems go.

    Raises:
        DataError: No frame of the video is an image of the folder.
    """
    frames = _frames(folder, images, file, problems)
    video = (root.findtext("meta/task/name") or root.findtext("meta/job/name") or "").strip()
    group = "/".join(part for part in (folder, video or file.stem) if part)
    found: list[dict[str, Any]] = []
    absent: set[int] = set()
    for number, track in enumerate(root.findall("track"), start=1):
        label = (track.get("label") or "").strip()
        if not label:
            problems.problem(f"{file.name}: track {number} has no label")
            continue
        for shape in track:
            frame = shape.get("frame") or ""
            place = f"{file.name}: track {number} frame {frame}"
            if not frame.isdecimal():
                problems.problem(
                    f"{file.name}: track {number} has a shape with the frame {frame!r}, expected a number from 0"
                )
            elif shape.get("outside") == "1":
                continue
            elif shape.tag not in OUTLINES:
                problems.skip(place, f"shapes of kind {shape.tag}")
            elif int(frame) not in frames:
                absent.add(int(frame))
            elif check_box(corners := corners_of(shape), place, problems):
                row = {"name": frames[int(frame)], "label": label, "file": file.name, "number": number, "group": group}
                found.append(row | dict(zip(("x1", "y1", "x2", "y2"), corners, strict=True)))
    if not found and absent:
        raise DataError(
            f"{file}: none of the {len(absent)} frames with objects is an image below {file.parent}; expected names such as "
            f"frame_{min(absent):06d}.PNG, {_found(images)}. Export the task with its images ('Save images'); a task of "
            "single images as 'CVAT for images 1.1'."
        )
    for missing in sorted(absent):
        problems.skip(f"{file.name}: frame {missing}", "frames that are no image of the folder")
    return LabelRows(make_rows(found, boxes=True), "CVAT", "track", file)


def _frames(folder: str, images: Sequence[str], file: Path, problems: DataProblems) -> dict[int, str]:
    """The image of each frame, by its number."""
    start = f"{folder}/" if folder else ""
    frames: dict[int, str] = {}
    for path in images:
        match = FRAME.fullmatch(path.rpartition("/")[2].rpartition(".")[0])
        if match is None or not path.startswith(start):
            continue
        first = frames.setdefault(int(match[1]), path)
        if first != path:
            problems.problem(
                f"{file.name}: {first} and {path} could both be its frame {int(match[1])}. Put the file of each video into "
                "the folder of its frames"
            )
    return frames


def _found(images: Sequence[str]) -> str:
    return f"found {listed([path.rpartition('/')[2] for path in images[:3]])}"
