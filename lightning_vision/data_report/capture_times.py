"""When the images of each class and folder were taken, and whether this gives the class away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from lightning_vision.array_types import Rows
from lightning_vision.data.inspection import Inspection
from lightning_vision.data.shooting_times import Floats, are_of_a_copy, sessions

DAY_SECONDS = 86_400.0
LEAST_IMAGES = 20
"""With fewer dated images nothing is said about what they give away."""
GIVES_AWAY = 0.5
"""Share of the way from chance to certainty from which the times are said to give the class away."""


@dataclass(frozen=True)
class Span:
    """The times of the images of a class, a folder or a part of the split."""

    kind: Literal["class", "folder", "split"]
    name: str
    first: str
    last: str
    """To the minute, by the camera's clock, or in UTC for times of files."""
    days: int
    """Number of different days."""
    images: int
    """Number of images with a time."""


@dataclass(frozen=True)
class CaptureTimes:
    """What the times of the images say."""

    clock: Literal["EXIF", "file"]
    known: int
    """Number of images with a time."""
    images: int
    spans: tuple[Span, ...]
    by: Literal["day", "session", ""] = ""
    """Whether the day or the session tells the class more often; empty: it was not asked, as of times of files."""
    told: float = 0.0
    """Share of the images whose class is the most frequent one among the others of their day or session."""
    chance: float = 0.0
    """Share of the most frequent class."""

    def warning(self) -> str:
        """A sentence if the times give the class away; empty if they do not."""
        if not self.by or self.told - self.chance < GIVES_AWAY * (1 - self.chance):
            return ""
        when = "day" if self.by == "day" else "session (without a pause of half an hour)"
        return (
            f"The {when} on which an image was taken tells its class for {self.told:.0%} of {self.known:,} images with an EXIF date; the "
            f"most frequent class is {self.chance:.0%}. A classifier may learn the light and the place in place of the class. Take images "
            "of all classes on each day, or test on other days (a column group or split in data.metadata)."
        )


def find_times(samples: pd.DataFrame, class_names: Sequence[str], inspection: Inspection) -> CaptureTimes | None:
    """Find the times of the images: EXIF's where an image has one, else the files' if these are not those of a copy.

    Args:
        samples: The sample table.
        class_names: The C names.
        inspection: Has the times, which were read with the headers.

    Returns:
        None if nothing is known.
    """
    times, clock = inspection.taken, "EXIF"
    if not times.any():
        times, clock = inspection.written, "file"
        if are_of_a_copy(times[times != 0]):
            return None
    rows = np.flatnonzero(times)
    labels, found = samples["label"].to_numpy()[rows], times[rows]
    spans = [
        *_spans("class", [class_names[label] for label in labels], found),
        *_spans("split", samples["split"].to_numpy(dtype=object)[rows].tolist(), found),
    ]
    folders = [PurePosixPath(samples["path"].iloc[row]).parent.as_posix() for row in rows]
    if len(set(folders)) > len(np.unique(labels)):
        spans += _spans("folder", folders, found)
    if clock == "file" or len(rows) < max(LEAST_IMAGES, len(samples) / 2) or len(class_names) < 2:
        return CaptureTimes("EXIF" if clock == "EXIF" else "file", len(rows), len(samples), tuple(spans))
    day, session = (told_by(groups, labels) for groups in (found // DAY_SECONDS, sessions(found)))
    chance = float(np.bincount(labels).max() / len(labels))
    by: Literal["day", "session"] = "day" if day >= session else "session"
    return CaptureTimes("EXIF", len(rows), len(samples), tuple(spans), by, max(day, session), chance)


def told_by(groups: npt.NDArray[np.generic], labels: Rows) -> float:
    """Share of the images whose label is that of most others in their group; a label that only ties is not told.

    The image itself does not count, so that a group of each image tells nothing.

    Args:
        groups: (N,) the group of each image.
        labels: (N,) its label.
    """
    _, group = np.unique(groups, return_inverse=True)
    pairs, pair_of, counts = np.unique(
        np.stack([group, labels]), axis=1, return_inverse=True, return_counts=True
    )  # (2, P), (N,), (P,)
    order = np.lexsort((counts, pairs[0]))
    ends = np.append(np.flatnonzero(np.diff(pairs[0][order])), len(order) - 1)
    best = order[ends]  # the pair with the largest count of each group
    second = np.zeros(len(best), dtype=np.int64)
    inner = ends > np.append(-1, ends[:-1]) + 1
    second[inner] = counts[order[ends[inner] - 1]]
    others = np.where(best[group] == pair_of.reshape(-1), second[group], counts[best][group])
    return float(np.mean(counts[pair_of.reshape(-1)] - 1 > others))


def _spans(kind: Literal["class", "folder", "split"], names: Sequence[str], times: Floats) -> list[Span]:
    order: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        order.setdefault(name, []).append(place)
    found = []
    for name, places in order.items():
        own = times[places]
        days = len(np.unique(own // DAY_SECONDS))
        found.append(Span(kind, name, _told(own.min()), _told(own.max()), days, len(own)))
    return found


def _told(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
