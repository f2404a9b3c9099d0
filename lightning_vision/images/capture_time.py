"""When an image was taken, as its EXIF says."""

from __future__ import annotations

import math
import re
import struct
from datetime import UTC, datetime

EXIF_BLOCK = 0x8769
"""EXIF tag of the block of the camera."""
TAKEN, DIGITISED = 0x9003, 0x9004
"""EXIF tags of DateTimeOriginal and DateTimeDigitized, in this block."""
PREFIX = b"Exif\0\0"
ENTRY = 12
"""Bytes of an entry: its tag, type, count, and value or offset."""
DATE = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d):(\d\d):(\d\d)")


def taken_at(exif: bytes) -> float:
    """Seconds since 1970 by the camera's clock; NaN if the block of EXIF is empty, broken or holds no date.

    Only the two tags are read, which takes a hundredth of the time that Pillow needs for all.
    """
    block = exif.removeprefix(PREFIX)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return math.nan
    try:
        camera = _values(block, order, struct.unpack_from(f"{order}I", block, 4)[0]).get(EXIF_BLOCK)
        found = {} if camera is None else _values(block, order, camera)
    except struct.error:  # an offset leads out of the block
        return math.nan
    places = (found[tag] for tag in (TAKEN, DIGITISED) if tag in found)
    times = (seconds_of(block[place : place + 19].decode("latin-1")) for place in places)
    return next((seconds for seconds in times if not math.isnan(seconds)), math.nan)


def seconds_of(text: object) -> float:
    """EXIF's ``2026:03:01 12:00:00``; NaN for a camera without a clock, or anything else."""
    match = DATE.match(str(text).lstrip("\0 "))
    if match is None:
        return math.nan
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        return math.nan


def _values(block: bytes, order: str, offset: int) -> dict[int, int]:
    """The last four bytes of each entry of a directory, by tag."""
    (count,) = struct.unpack_from(f"{order}H", block, offset)
    places = range(offset + 2, offset + 2 + ENTRY * count, ENTRY)
    return {tag: value for tag, _, _, value in (struct.unpack_from(f"{order}HHII", block, place) for place in places)}
