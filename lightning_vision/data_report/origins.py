"""Where the images come from: folders, dates, groups, and the kinds of files that were skipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import pandas as pd

from lightning_vision.data.sample_table import FILE_COLUMNS, REQUIRED_COLUMNS, SPLITS
from lightning_vision.data.value_order import date_range

NO_DATES = {*REQUIRED_COLUMNS, *FILE_COLUMNS, "box_xyxy", "frame", "source", "role"}
"""Columns that hold no dates."""


@dataclass(frozen=True)
class FolderCount:
    """The images of one class in one folder."""

    class_name: str
    folder: str
    images: int


@dataclass(frozen=True)
class DateRange:
    """The dates of a column in one part of the split."""

    column: str
    split: str
    first: str
    last: str
    values: int
    """Number of different dates."""
    missing: int
    """Number of images without a date."""


@dataclass(frozen=True)
class GroupFacts:
    """The groups of near copies in the whole data."""

    groups: int
    sizes: tuple[tuple[str, int, int], ...]
    """Images in a group as ``2`` or ``3 to 4``, the number of such groups and of their images, ascending."""
    of_classes: tuple[tuple[str, int], ...]
    """Groups with images of several classes, and the number of these classes, the most first."""
    of_splits: tuple[tuple[str, int], ...]
    """Groups on several sides of the split, and the number of these sides, the most first."""


@dataclass(frozen=True)
class Origins:
    """What is known about the origin of the images without opening one."""

    folders: tuple[FolderCount, ...]
    """In the order of the table; empty if no class has more than one folder in a part of the split."""
    dates: tuple[DateRange, ...]
    groups: GroupFacts | None
    """None if the data has no groups."""
    skipped: tuple[tuple[str, int], ...]
    """The extensions of skipped files and their numbers, the most frequent first; empty text: none."""


def find_origins(samples: pd.DataFrame, class_names: Sequence[str], skipped: Iterable[str]) -> Origins:
    """Count folders, dates, groups and skipped extensions.

    Args:
        samples: The sample table.
        class_names: The C names.
        skipped: The paths of skipped files.
    """
    return Origins(
        folders=_folders(samples, class_names),
        dates=_dates(samples),
        groups=_group_facts(samples),
        skipped=tuple(Counter(PurePosixPath(path).suffix.lower() for path in skipped).most_common()),
    )


def _folders(samples: pd.DataFrame, class_names: Sequence[str]) -> tuple[FolderCount, ...]:
    # Without pandas, which beside pyarrow cannot hold new texts that are not UTF-8.
    folders = [PurePosixPath(path).parent.as_posix() for path in samples["path"].tolist()]
    labels = samples["label"].tolist()
    in_part = set(zip(labels, samples["split"].tolist(), folders, strict=True))
    if len(in_part) == len({(label, split) for label, split, _ in in_part}):
        return ()
    counts = Counter(zip(labels, folders, strict=True))
    return tuple(FolderCount(class_names[label], folder, images) for (label, folder), images in counts.items())


def _dates(samples: pd.DataFrame) -> tuple[DateRange, ...]:
    found = []
    for column in samples.columns.difference(list(NO_DATES), sort=False):
        values = samples[column]
        if pd.api.types.is_numeric_dtype(values.dtype):
            continue
        for split in SPLITS:
            part = values[samples["split"] == split]
            known = [str(value) for value in part.dropna().tolist() if str(value).strip()]
            if (ends := date_range(sorted(set(known)), str(column))) is not None:
                missing = len(part) - len(known)
                found.append(DateRange(str(column), split, *ends, values=len(set(known)), missing=missing))
    return tuple(found)


def _group_facts(samples: pd.DataFrame) -> GroupFacts | None:
    if "group" not in samples or samples["group"].isna().all():
        return None
    grouped = samples.dropna(subset="group").groupby("group", sort=False)
    sizes = grouped.size()
    bins: Counter[int] = Counter()
    images: Counter[int] = Counter()
    for size in sizes.tolist():
        step = (size - 1).bit_length()  # 1, 2, 3 to 4, 5 to 8, 9 to 16, ...
        bins[step] += 1
        images[step] += size
    return GroupFacts(
        groups=len(sizes),
        sizes=tuple((_span(step), bins[step], images[step]) for step in sorted(bins)),
        of_classes=_several(grouped["label"].nunique()),
        of_splits=_several(grouped["split"].nunique()),
    )


def _span(step: int) -> str:
    low, high = (1 << (step - 1)) + 1 if step else 1, 1 << step
    return str(high) if low == high else f"{low} to {high}"


def _several(counts: pd.Series) -> tuple[tuple[str, int], ...]:
    more = counts[counts > 1].sort_values(ascending=False, kind="stable")
    return tuple((str(group), int(count)) for group, count in more.items())
