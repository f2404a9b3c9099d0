"""Finds near copies: for each image of one side the most similar one of another, by perceptual hash and thumbnail."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lightning_vision.array_types import Rows
from lightning_vision.data.image_facts import THUMBNAIL
from lightning_vision.storage.array_file import read_arrays, write_arrays
from lightning_vision.storage.cache_folder import keep

VERSION = 1
"""Version of the search: stored pairs of another version are not used."""
MOST_BITS = 6
"""Perceptual hashes of 64 bits that differ in no more may belong to near copies ..."""
MOST_DIFFERENCE = 8.0
"""... if their thumbnails differ by no more than this many grey levels on average."""
VALUES = THUMBNAIL * THUMBNAIL * 3
"""Number of values of a thumbnail."""
WORTH_KEEPING = 1_000_000
"""Fewer comparisons take less time than reading stored ones."""
BLOCK = 128
"""Images that are compared with all others at once: (BLOCK, M) bytes."""
MOST_AT_ONCE = 100_000
"""Pairs of thumbnails that are compared at once: 200 bytes each, a few times over."""


Side = tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]
"""Perceptual hashes (N,) and thumbnails (N, 8, 8, 3) of N images."""


class Nearest(NamedTuple):
    """For each of N images the nearest of M others."""

    place: Rows
    """(N,) its position among the others, the first of equals; -1 if none is within the limits."""
    bits: npt.NDArray[np.uint8]
    """(N,) number of bits in which the two hashes differ; 0 if there is none."""


class NearCopies(NamedTuple):
    """Near copies of two sides."""

    later: Nearest
    """For each image of the later side the nearest one of the earlier side."""
    shared: npt.NDArray[np.bool_]
    """(M,) images of the earlier side that have a near copy on the later one."""


def near_copies(
    earlier: Side,
    later: Side,
    folder: Path | None = None,
) -> NearCopies:
    """Compare each image of one side with all of another.

    Args:
        earlier: M images of one side.
        later: N images of the other.
        folder: The folder that stores the result for the next time; None: it is not stored.
    """
    if folder is None or len(earlier[0]) * len(later[0]) < WORTH_KEEPING:
        return _search(earlier, later)
    digest = hashlib.blake2b(f"{VERSION} {MOST_BITS} {MOST_DIFFERENCE}".encode(), digest_size=16)
    for array in (*earlier, *later):
        digest.update(f" {array.shape} ".encode() + np.ascontiguousarray(array).tobytes())
    kept = folder / f"near-copies-{digest.hexdigest()}.npz"
    known = _read(kept, len(later[0]), len(earlier[0]))
    if known is not None:
        return known
    found = _search(earlier, later)
    keep("Near copies", kept, lambda: _write(kept, found))
    return found


def _search(earlier: Side, later: Side) -> NearCopies:
    return NearCopies(nearest(later, earlier), nearest(earlier, later).place >= 0)


def nearest(
    images: Side,
    others: Side,
) -> Nearest:
    """The nearest of the others within both limits: the fewest bits, then the first.

    Args:
        images: N images.
        others: M images.
    """
    hashes, other_hashes = images[0], others[0]
    thumbnails, other_thumbnails = (side[1].reshape(len(side[1]), VALUES).astype(np.int16) for side in (images, others))
    place = np.full(len(hashes), -1, dtype=np.int64)
    distance = np.zeros(len(hashes), dtype=np.uint8)
    if len(other_hashes) == 0:
        return Nearest(place, distance)
    limit = int(MOST_DIFFERENCE * VALUES)  # of the sum over a thumbnail
    sums, other_sums = (side.sum(axis=1, dtype=np.int32) for side in (thumbnails, other_thumbnails))
    for start in range(0, len(hashes), BLOCK):
        block = slice(start, start + BLOCK)
        bits = np.bitwise_count(hashes[block, None] ^ other_hashes[None])  # (BLOCK, M) uint8
        similar = np.flatnonzero((bits <= MOST_BITS).any(axis=1))
        if len(similar) == 0:
            continue
        bits, rows = bits[similar], start + similar
        # The sums of two thumbnails differ by no more than the thumbnails do: this bound excludes most pairs.
        bits[np.abs(sums[rows, None] - other_sums[None]) > limit] = 65
        candidates = (bits <= MOST_BITS).sum(axis=1)
        order = np.argsort(bits, axis=1, kind="stable")  # by bits, then by place
        begin, width, open_ = 0, 16, np.flatnonzero(candidates > 0)
        while len(open_):
            width = max(1, min(2 * width, MOST_AT_ONCE // len(open_)))
            tried = order[open_, begin : begin + width]  # (open, width)
            apart = np.abs(thumbnails[rows[open_], None] - other_thumbnails[tried]).sum(axis=2, dtype=np.int32)
            alike = (apart <= limit) & (begin + np.arange(tried.shape[1]) < candidates[open_, None])
            first, found = alike.argmax(axis=1), alike.any(axis=1)
            chosen = tried[np.flatnonzero(found), first[found]]
            place[rows[open_[found]]] = chosen
            distance[rows[open_[found]]] = bits[open_[found], chosen]
            begin += width
            open_ = open_[~found & (candidates[open_] > begin)]
    return Nearest(place, distance)


def _read(kept: Path, later: int, earlier: int) -> NearCopies | None:
    """The stored result; None if none can be read."""
    arrays = read_arrays(kept)
    if arrays is None or not {"place", "bits", "shared"} <= arrays.keys():
        return None
    found = NearCopies(Nearest(arrays["place"], arrays["bits"]), arrays["shared"])
    return found if len(found.later.place) == later and len(found.shared) == earlier else None


def _write(kept: Path, found: NearCopies) -> None:
    write_arrays(kept, {"place": found.later.place, "bits": found.later.bits, "shared": found.shared})
