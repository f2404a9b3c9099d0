"""When and where images were taken, from EXIF and file times."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial import KDTree

from lightning_vision.data.shooting_times import Floats, are_of_a_copy
from lightning_vision.images.capture_time import DIGITISED, EXIF_BLOCK, TAKEN, seconds_of

NEAR_SECONDS = 600.0
"""Images taken within ten minutes of each other often show the same scene."""
NEAR_METRES = 100.0
EARTH_METRES = 6_371_000.0
GPS_BLOCK = 0x8825
LATITUDE, LONGITUDE = (1, 2, "S"), (3, 4, "W")
"""EXIF tags of the hemisphere and of degrees, minutes and seconds; the hemisphere that counts as negative."""


@dataclass(frozen=True)
class Shots:
    """Times and places of N images; NaN if the file has none."""

    taken: Floats
    """(N,) when by EXIF: seconds since 1970 by the camera's clock."""
    written: Floats
    """(N,) when the file was last changed: seconds since 1970."""
    position: Floats
    """(N, 2) latitude and longitude in degrees."""

    def __len__(self) -> int:
        return len(self.taken)


def read_shots(paths: Sequence[Path]) -> Shots:
    """Read times and places of image files; NaN for a file that cannot be read."""
    rows = [_read(path) for path in paths]
    found = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return Shots(found[:, 0], found[:, 1], found[:, 2:])


def common_times(first: Shots, second: Shots) -> tuple[Floats, Floats, str]:
    """Times of two sets of images by one clock.

    Returns:
        The known times of each, and the clock: ``EXIF`` if half of each set has EXIF times, else ``file`` if the file times are
        not those of a copy, else empty, with no times.
    """
    if all(len(shots) and np.isfinite(shots.taken).mean() >= 0.5 for shots in (first, second)):
        return first.taken[np.isfinite(first.taken)], second.taken[np.isfinite(second.taken)], "EXIF"
    written = [shots.written[np.isfinite(shots.written)] for shots in (first, second)]
    if not any(are_of_a_copy(times) for times in written):
        return written[0], written[1], "file"
    return np.empty(0), np.empty(0), ""


def share_near_in_time(first: Floats, second: Floats) -> float:
    """Share of the second times that lie within ten minutes of one of the first."""
    distance, _ = KDTree(first[:, None]).query(second[:, None])
    return float(np.mean(distance <= NEAR_SECONDS))


def share_near_in_place(first: Shots, second: Shots) -> float | None:
    """Share of the second's positions that lie within 100 m of one of the first; None where one has no positions."""
    one, two = (_on_sphere(shots.position[np.isfinite(shots.position).all(axis=1)]) for shots in (first, second))
    if not len(one) or not len(two):
        return None
    distance, _ = KDTree(one).query(two)
    return float(np.mean(distance <= NEAR_METRES))


def _on_sphere(position: Floats) -> Floats:
    """(N, 3) in metres from the centre of the Earth: over a few hundred metres the chord equals the distance."""
    latitude, longitude = np.radians(position).T
    around = np.cos(latitude)
    return EARTH_METRES * np.stack([around * np.cos(longitude), around * np.sin(longitude), np.sin(latitude)], axis=1)


def _read(path: Path) -> tuple[float, float, float, float]:
    """Taken, written, latitude, longitude."""
    written = taken = latitude = longitude = math.nan
    try:
        written = path.stat().st_mtime
        # A broken block needs no warning: it has no time and no place.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as opened:
            exif = opened.getexif()
            camera, gps = exif.get_ifd(EXIF_BLOCK), exif.get_ifd(GPS_BLOCK)
        taken = seconds_of(camera.get(TAKEN) or camera.get(DIGITISED))
        latitude, longitude = (
            _degrees(gps.get(side), gps.get(value), minus) for side, value, minus in (LATITUDE, LONGITUDE)
        )
    except Exception:  # on broken blocks Pillow raises anything: SyntaxError, struct.error, KeyError, ...
        return taken, written, latitude, longitude
    return taken, written, latitude, longitude


def _degrees(side: object, parts: object, minus: str) -> float:
    try:
        degrees, minutes, seconds = (float(part) for part in parts)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return math.nan
    return (degrees + minutes / 60 + seconds / 3600) * (-1 if str(side).strip("\0 ").upper() == minus else 1)
