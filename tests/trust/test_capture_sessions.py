"""When and where images were taken, by files written with EXIF."""

import calendar
import math
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_vision.data.shooting_times import sessions
from lightning_vision.images.capture_time import seconds_of, taken_at
from lightning_vision.trust.capture_sessions import (
    Shots,
    common_times,
    read_shots,
    share_near_in_place,
    share_near_in_time,
)

NOON = calendar.timegm((2026, 3, 1, 12, 0, 0))


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_date_of_a_block_of_exif(order: str) -> None:
    exif = Image.Exif()
    exif.endian = order
    exif[0x0110] = "a camera"
    exif.get_ifd(0x8769)[0x9003] = "2026:03:01 12:00:00"
    block = exif.tobytes()
    assert taken_at(block) == taken_at(block.removeprefix(b"Exif\0\0")) == NOON
    broken = [block[:length] for length in range(len(block) - 20)]
    assert all(math.isnan(taken_at(part)) for part in [*broken, b"no block", b"II" + b"\xff" * 40])


@pytest.mark.parametrize(
    "text", ["0000:00:00 00:00:00", "    :  :     :  :  ", "2026:02:30 12:00:00", "", "yesterday", None]
)
def test_no_date(text: str | None) -> None:
    assert math.isnan(seconds_of(text))


def photo(path: Path, taken: str | None = None, position: tuple[float, float] | None = None) -> Path:
    exif = Image.Exif()
    if taken is not None:
        exif.get_ifd(0x8769)[0x9003] = taken
    if position is not None:
        gps = exif.get_ifd(0x8825)
        for (side, value), degrees, letters in zip(((1, 2), (3, 4)), position, ("NS", "EW"), strict=True):
            gps[side] = letters[degrees < 0]
            gps[value] = (float(int(abs(degrees))), (abs(degrees) % 1) * 60, 0.0)
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    return path


def shots(taken: list[float], written: list[float] | None = None, position: list[list[float]] | None = None) -> Shots:
    none = [np.nan] * len(taken)
    return Shots(np.array(taken), np.array(written or none), np.array(position or [[np.nan, np.nan]] * len(taken)))


def test_reads_what_a_camera_writes(tmp_path: Path) -> None:
    paths = [
        photo(tmp_path / "a.jpg", "2026:03:01 12:00:00", (44.8, -0.6)),
        photo(tmp_path / "b.jpg", "0000:00:00 00:00:00"),
        photo(tmp_path / "c.jpg"),
        tmp_path / "gone.jpg",
    ]
    (tmp_path / "text.jpg").write_text("no image")
    os.utime(paths[2], (NOON, NOON))
    found = read_shots([*paths, tmp_path / "text.jpg"])
    assert len(found) == 5
    assert found.taken[0] == NOON and np.isnan(found.taken[1:]).all()
    assert found.position[0] == pytest.approx([44.8, -0.6]) and np.isnan(found.position[1:]).all()
    assert found.written[2] == NOON and np.isnan(found.written[3]) and np.isfinite(found.written[4])


def test_a_broken_block_says_nothing(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", "2026:03:01 12:00:00")
    content = path.read_bytes()
    start = content.index(b"Exif")
    path.write_bytes(content[: start + 14] + b"\xff" * 30 + content[start + 44 :])
    found = read_shots([path])
    assert np.isnan(found.taken).all() and np.isfinite(found.written).all()


def test_a_pause_of_half_an_hour_begins_a_session() -> None:
    minutes = np.array([0.0, 61, 10, 30, 200, 90])
    assert sessions(60 * minutes).tolist() == [0, 1, 0, 0, 2, 1]
    assert sessions(np.empty(0)).tolist() == []


def test_near_in_time_and_place() -> None:
    assert share_near_in_time(np.array([0.0, 10_000]), np.array([600.0, 601, 9_400, 10_700])) == 0.5
    here = shots([0, 0], position=[[44.8, -0.6], [np.nan, np.nan]])
    # 0.0008 degrees of latitude are 89 m, 0.001 are 111 m.
    there = shots([0] * 3, position=[[44.8008, -0.6], [44.801, -0.6], [np.nan, np.nan]])
    assert share_near_in_place(here, there) == 0.5
    assert share_near_in_place(here, shots([0.0])) is None


def test_exif_goes_before_the_files_own_times() -> None:
    one = shots([1.0, 2.0, np.nan], [5.0, 50, 500])
    mine, its, clock = common_times(one, shots([7.0]))
    assert (mine.tolist(), its.tolist(), clock) == ([1.0, 2.0], [7.0], "EXIF")
    half = shots([1.0, np.nan, np.nan], [5.0, 50, 500])
    assert common_times(half, one)[2] == "file"
    assert common_times(half, one)[0].tolist() == [5.0, 50, 500]


def test_times_of_a_copy_are_no_times() -> None:
    copied = shots([np.nan] * 4, [5.0, 5.01, 5.02, 90])
    slow = shots([np.nan] * 3, [5.0, 50, 500])
    assert common_times(slow, copied)[2] == ""
    assert common_times(shots([]), slow)[2] == ""
