"""Finds leaks: copies, near copies and groups on two sides of the split; and copies with different labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from lightning_vision.array_types import Rows
from lightning_vision.data.image_facts import DECODED, SMALLEST_SIDE
from lightning_vision.data.inspection import Inspection
from lightning_vision.data.near_copies import near_copies
from lightning_vision.data.sample_table import SPLITS
from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import plural

MOST_COMPARISONS = 4e10
"""With more images, near copies are not searched: it would take more than a few minutes."""
SIDES = (("train", "val"), ("train", "test"), ("val", "test"))
"""Pairs of sides that must share nothing: images are dropped from the first."""

Kind = Literal["exact", "near", "label"]


@dataclass(frozen=True)
class LeakPair:
    """Two rows of the sample table with the same content."""

    kind: Kind
    """exact or near: on two sides of the split. label: copies with different labels."""
    first: int
    second: int
    distance: int = 0
    """Bits in which the perceptual hashes differ."""


@dataclass
class Leaks:
    """All that was found."""

    pairs: list[LeakPair] = field(default_factory=list)
    """For each row on a later side (validation, test) the nearest copy on an earlier one; for labels one pair per copy."""
    groups: list[str] = field(default_factory=list)
    """Names of groups on two sides."""
    drop: Rows = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Rows to leave out so that nothing is shared: training before validation before test data."""
    not_compared: bool = False
    """Near copies were not searched: there are too many images."""
    undecoded: int = 0
    """Number of images among which copies and near copies were not searched, because they were not decoded."""

    def counts(self) -> dict[str, int | None]:
        """The number of leaks of each kind; None if it was not searched."""
        found = self.found()
        if self.undecoded:
            return {**dict.fromkeys(found), "groups": found["groups"]}
        return {**found, "near": None if self.not_compared else found["near"]}

    def found(self) -> dict[str, int]:
        """The number of leaks of each kind that were found, among the images that were searched."""
        kinds = [pair.kind for pair in self.pairs]
        return {kind: kinds.count(kind) for kind in ("exact", "near", "label")} | {"groups": len(self.groups)}

    def limits(self) -> str:
        """What was not searched, as a sentence; empty if all was."""
        if self.undecoded:
            return (
                f"Copies and near copies were not searched among {plural(self.undecoded, 'image')}, which were not decoded "
                "(data.inspect)."
            )
        return "Near copies were not searched, because there are too many images." if self.not_compared else ""

    def sentence(self) -> str:
        """What was found, in words; empty if nothing was found."""
        count = self.found()
        words = []
        if count["exact"]:
            words.append(f"{plural(count['exact'], 'validation or test image')} with an exact copy on another side")
        if count["near"]:
            words.append(f"{plural(count['near'], 'validation or test image')} with a near copy on another side")
        if count["groups"]:
            words.append(f"{plural(count['groups'], 'group')} on two sides of the split")
        if count["label"]:
            words.append(
                "1 copy of an image with another label"
                if count["label"] == 1
                else f"{count['label']} copies of images with another label"
            )
        return ", ".join(words)


def find_leaks(samples: pd.DataFrame, inspection: Inspection, folder: Path | None = None) -> Leaks:
    """Find everything that two sides of the split share.

    Args:
        samples: The sample table, every row in a split.
        inspection: The facts about its rows.
        folder: The folder that stores near copies for the next time; None: they are not stored.
    """
    split = samples["split"].to_numpy(dtype=object)
    labels = samples["label"].to_numpy()
    decoded = inspection.depth == DECODED
    copies = _numbered(inspection.digest)
    copies[~decoded] = len(copies) + np.arange((~decoded).sum())  # their digests say nothing of their content
    leaks = Leaks(undecoded=inspection.undecoded)
    dropped = np.zeros(len(samples), dtype=np.bool_)
    rows_of = {part: np.flatnonzero(split == part) for part in SPLITS}
    paired: set[int] = set()
    for earlier, later in SIDES:
        pairs, shared = _exact(copies, rows_of[earlier], rows_of[later])
        leaks.pairs += pairs
        paired |= {pair.second for pair in pairs}
        dropped[shared] = True
    for earlier, later in SIDES:
        usable = decoded & (np.minimum(inspection.height, inspection.width) >= SMALLEST_SIDE)
        one, two = (rows_of[part][usable[rows_of[part]]] for part in (earlier, later))
        if float(len(one)) * len(two) > MOST_COMPARISONS:
            leaks.not_compared = True
            continue
        pairs, shared = _near(inspection, one, two, folder)
        leaks.pairs += [pair for pair in pairs if pair.second not in paired]
        dropped[shared] = True
    pairs, shared = _disagreeing(copies, labels)
    leaks.pairs += pairs
    dropped[shared[split[shared] == "train"]] = True
    if "group" in samples:
        groups = samples["group"]
        for earlier, later in SIDES:
            both = set(groups.iloc[rows_of[earlier]].dropna()) & set(groups.iloc[rows_of[later]].dropna())
            leaks.groups += sorted(str(group) for group in both)
            dropped[rows_of[earlier][groups.iloc[rows_of[earlier]].isin(both).to_numpy()]] = True
        leaks.groups = sorted(set(leaks.groups))
    leaks.drop = np.flatnonzero(dropped)
    return leaks


def _numbered(digests: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """(N,) numbers from 0 on, equal for equal digests (N, 16)."""
    halves = [pd.factorize(half)[0].astype(np.int64) for half in np.ascontiguousarray(digests).view(np.uint64).T]
    numbers: npt.NDArray[np.int64] = pd.factorize(halves[0] * (halves[1].max(initial=0) + 1) + halves[1])[0].astype(
        np.int64
    )
    return numbers


def _exact(copies: npt.NDArray[np.int64], earlier: Rows, later: Rows) -> tuple[list[LeakPair], Rows]:
    first_of = np.full(copies.max(initial=-1) + 1, -1, dtype=np.int64)
    first_of[copies[earlier[::-1]]] = earlier[::-1]
    later = later[first_of[copies[later]] >= 0]
    pairs = [
        LeakPair("exact", first, row)
        for first, row in zip(first_of[copies[later]].tolist(), later.tolist(), strict=True)
    ]
    shared = earlier[np.isin(copies[earlier], copies[later])]
    return pairs, shared


def _near(inspection: Inspection, earlier: Rows, later: Rows, folder: Path | None) -> tuple[list[LeakPair], Rows]:
    """For each later row the nearest earlier one within the limits, and all earlier rows that are within them."""
    sides = [(inspection.phash[rows], inspection.thumbnail[rows]) for rows in (earlier, later)]
    found, shared = near_copies(sides[0], sides[1], folder)
    pairs = [
        LeakPair("near", int(earlier[found.place[place]]), int(later[place]), int(found.bits[place]))
        for place in np.flatnonzero(found.place >= 0)
    ]
    return pairs, earlier[shared]


def _disagreeing(copies: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> tuple[list[LeakPair], Rows]:
    """Copies of an image, on any side, with another label than its first copy; and all rows concerned."""
    table = pd.DataFrame({"copy": copies, "label": labels})
    table = table[np.bincount(copies)[copies] > 1]
    several = table.groupby("copy")["label"].transform("nunique") > 1
    pairs = []
    for _, rows in table[several].groupby("copy"):
        first = int(rows.index[0])
        others = rows.index[rows["label"] != rows["label"].iloc[0]]
        pairs += [LeakPair("label", first, int(other)) for other in others]
    return pairs, table.index.to_numpy(dtype=np.int64)[several.to_numpy()]


def shown(leaks: Leaks, paths: Sequence[str], limit: int = 5) -> str:
    """The paths of the first pairs, for a message."""
    names = {"exact": "is a copy of", "near": "looks like", "label": "has another label than its copy"}
    lines = [f"\n  {paths[pair.second]} {names[pair.kind]} {paths[pair.first]}" for pair in leaks.pairs[:limit]]
    lines += [f"\n  the group '{group}' is on two sides" for group in leaks.groups[: max(0, limit - len(lines))]]
    return "".join(lines)


def settle_leaks(
    samples: pd.DataFrame, inspection: Inspection, on_leak: str, place: str, folder: Path | None = None
) -> tuple[Leaks, Rows, list[str]]:
    """Find leaks and handle them as ``on_leak`` says.

    Args:
        samples: The sample table, every row in a split.
        inspection: The facts about its rows.
        on_leak: warn, drop or error.
        place: The data's root, for messages.
        folder: The folder that stores near copies; None: they are not stored.

    Returns:
        What was found, the rows to keep, and messages for the user.

    Raises:
        DataError: Something is shared, and ``on_leak`` is error.
    """
    leaks = find_leaks(samples, inspection, folder)
    everything = np.arange(len(samples), dtype=np.int64)
    # That images were not decoded is said by the inspection.
    remarks = [leaks.limits()] if leaks.not_compared and not leaks.undecoded else []
    told = leaks.sentence()
    if not told:
        return leaks, everything, remarks
    if on_leak == "error":
        raise DataError(
            f"{place}: training and test data overlap: {told}.{shown(leaks, samples['path'].tolist())}\nRemove "
            "them, or use data.on_leak=drop (leaves out training images) or data.on_leak=warn."
        )
    if on_leak == "warn":
        way_out = "data.on_leak=drop leaves the training images out; `lightning-vision data` shows them."
        return leaks, everything, [*remarks, f"Leaks: {told}. {way_out}"]
    dropped = plural(len(leaks.drop), "training or validation image")
    told = f"Leaks: {told}. {dropped} left out (data.on_leak=drop)."
    return leaks, np.setdiff1d(everything, leaks.drop), [*remarks, told]
