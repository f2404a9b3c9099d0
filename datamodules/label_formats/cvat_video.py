"""CVAT for video 1.1: one XML file with an element for each tracked object, and in it a shape for each frame."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from datamodules.label_formats.cvat_shapes import OUTLINES, SIDES, corners_of
from datamodules.label_rows import LabelRows, check_box, make_rows
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import listed, plural

FRAME = re.compile(r"frame_(\d{6,})")
"""The names that CVAT gives the frames of a video, without suffix; they count from 0."""


def read_tracks(
    root: ElementTree.Element, file: Path, folder: str, images: Sequence[str], problems: DataProblems
) -> LabelRows:
    """Read the tracks of a video: a row for each shape in a frame that is an image below the file's folder.

    CVAT exports a shape for every frame, those between key frames too. Where other programs store key frames only, the
    boxes between them are interpolated (``between_key_frames``). A shape with ``outside`` says that the object has left the
    image. Frames of a video are near copies: it is their ``group``.

    Args:
        root: The root element of the file.
        file: The file.
        folder: Its folder, from the data's root.
        images: The images, by path from the data's root.
        problems: Where problems go.

    Raises:
        DataError: No frame of the video is an image of the folder, or outlines would have to be interpolated.
    """
    frames = _frames(folder, images, file, problems)
    video = (root.findtext("meta/task/name") or root.findtext("meta/job/name") or "").strip()
    group = "/".join(part for part in (folder, video or file.stem) if part)
    found: list[dict[str, Any]] = []
    absent: set[int] = set()
    only_key_frames = not any(shape.get("keyframe") == "0" for track in root.findall("track") for shape in track)
    interpolated = 0
    for number, track in enumerate(root.findall("track"), start=1):
        label = (track.get("label") or "").strip()
        if not label:
            problems.problem(f"{file.name}: track {number} has no label")
            continue
        between = between_key_frames(track, frames, file) if only_key_frames else []
        interpolated += len(between)
        for shape in (*track, *between):
            frame = shape.get("frame") or ""
            place = f"{file.name}: track {number} frame {frame}"
            if not frame.isdecimal():
                problems.problem(
                    f"{file.name}: track {number} has a shape with the frame {frame!r}, expected a number from 0"
                )
            elif shape.get("outside") == "1":
                continue
            elif shape.tag not in OUTLINES:
                problems.leave_out(f"shapes of kind {shape.tag}, which have no box, in {file.name}")
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
    if absent:
        count = plural(len(absent), "frame")
        problems.remark(
            f"{file.name}: {count} with objects not used: there is no image of {'it' if len(absent) == 1 else 'them'}."
        )
    if interpolated:
        problems.remark(
            f"{file.name} holds the key frames of its tracks only: {interpolated} {'box' if interpolated == 1 else 'boxes'} "
            "between them interpolated, as CVAT does. Nothing is added behind the last key frame of a track."
        )
    return LabelRows(make_rows(found, boxes=True), "CVAT", "track", file)


def between_key_frames(track: ElementTree.Element, frames: Mapping[int, str], file: Path) -> list[ElementTree.Element]:
    """The boxes of a track in frames between its key frames, on straight lines, as CVAT interpolates them.

    An object that is ``outside`` in a key frame stays so until the next one. In the frames before, it moves to the place
    where it is lost.

    Args:
        track: The element, with a shape for each key frame.
        frames: The images by frame; others need no box.
        file: The file, for messages.

    Raises:
        DataError: The shapes are no boxes, such as outlines, which CVAT interpolates point by point.
    """
    shapes = [shape for shape in track if (shape.get("frame") or "").isdecimal()]
    keys = sorted(shapes, key=_number)
    found = []
    for first, second in pairwise(keys):
        start, end = _number(first), _number(second)
        missing = [frame for frame in range(start + 1, end) if frame in frames]
        if first.get("outside") == "1" or not missing or {first.tag, second.tag} - set(OUTLINES):
            continue
        one, two = corners_of(first), corners_of(second)
        if {first.tag, second.tag} != {"box"}:
            raise DataError(
                f"{file}: it holds key frames only (a {first.tag} in frame {start}, the next shape in frame {end}), and {first.tag}s "
                "between key frames cannot be interpolated here. Export the task from CVAT as 'CVAT for video 1.1', which "
                "has a shape for every frame, or remove the frames without a shape."
            )
        if len(one) != len(two):
            continue  # the shape with wrong numbers is reported
        for frame in missing:
            share = (frame - start) / (end - start)
            sides = {side: str(a + (b - a) * share) for side, a, b in zip(SIDES, one, two, strict=True)}
            found.append(ElementTree.Element("box", {"frame": str(frame), "outside": "0", **sides}))
    return found


def _number(shape: ElementTree.Element) -> int:
    return int(shape.get("frame") or "")


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
