"""When images were taken, by class, folder and part, and whether this tells the class."""

import calendar
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from datamodules import ImageFolder
from lightning_vision.data.inspection import Inspection
from lightning_vision.data.scenarios import Joint
from lightning_vision.data_report.capture_times import Span, find_times, told_by
from lightning_vision.data_report.page import write_page
from lightning_vision.data_report.report import describe
from lightning_vision.data_report.terminal import print_report

NOON = calendar.timegm((2026, 3, 1, 12, 0, 0))
DAY, HOUR = 86400.0, 3600.0


def inspected(taken: list[float], written: list[float] | None = None) -> Inspection:
    found = Inspection.blank(len(taken))
    found.taken[:] = taken
    found.written[:] = np.arange(len(taken)) if written is None else written  # a copy would be faster
    return found


def table(labels: list[int]) -> pd.DataFrame:
    paths = [f"{'ab'[label]}/{row}.jpg" for row, label in enumerate(labels)]
    return pd.DataFrame({"path": paths, "label": labels, "split": "train"})


@pytest.mark.parametrize(
    ("groups", "labels", "share"),
    [
        ([0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1], 1.0),
        ([0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 1, 1], 0.0),  # a group of each image tells nothing
        ([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1], 5 / 6),
        ([7, 7, 7, 7, 7, 7], [0, 0, 0, 1, 1, 1], 0.0),
        ([3, 3, 3, 3, 3, 3], [0, 0, 1, 2, 0, 0], 4 / 6),
    ],
)
def test_the_others_of_a_group_tell_the_label(groups: list[int], labels: list[int], share: float) -> None:
    assert told_by(np.array(groups), np.array(labels)) == pytest.approx(share)


def test_against_counting_one_by_one() -> None:
    generator = np.random.default_rng(0)
    groups, labels = generator.integers(0, 9, 200), generator.integers(0, 4, 200)
    told = 0
    for row in range(200):
        others = (groups == groups[row]) & (np.arange(200) != row)
        counts = np.bincount(labels[others], minlength=4)
        told += int(counts[labels[row]] > np.delete(counts, labels[row]).max())
    assert told_by(groups, labels) == told / 200


@pytest.mark.parametrize(
    ("times", "by", "warned"),
    [
        ([NOON + label * DAY + row * HOUR / 2 for row in range(8) for label in (0, 1)], "day", True),
        ([NOON + label * HOUR + row * 20 for row in range(15) for label in (0, 1)], "session", True),
        ([NOON + row * DAY / 4 for row in range(15) for label in (0, 1)], "day", False),
    ],
)
def test_a_class_with_times_of_its_own(times: list[float], by: str, warned: bool) -> None:
    times = times + times[:6] if len(times) < 20 else times
    found = find_times(table([row % 2 for row in range(len(times))]), ["a", "b"], inspected(times))
    assert (
        found is not None
        and found.clock == "EXIF"
        and found.by == by
        and found.warning().startswith(f"The {by}") is warned
    )


def test_spans() -> None:
    found = find_times(table([0, 0, 1]), ["a", "b"], inspected([NOON, NOON + DAY, 0]))
    assert found is not None and (found.known, found.images, found.by) == (2, 3, "")  # too few for more
    span = ("2026-03-01 12:00", "2026-03-02 12:00", 2, 2)
    assert found.spans == (Span("class", "a", *span), Span("split", "train", *span))


def test_times_of_files_unless_they_are_those_of_a_copy() -> None:
    nothing = [0.0] * 4
    assert (
        find_times(table([0, 0, 1, 1]), ["a", "b"], inspected(nothing, [NOON + 0.1 * row for row in range(4)])) is None
    )
    found = find_times(table([0, 0, 1, 1]), ["a", "b"], inspected(nothing, [NOON + 60.0 * row for row in range(4)]))
    assert found is not None and found.clock == "file" and found.warning() == ""


def test_a_phone_with_a_day_for_each_class(tmp_path: Path) -> None:
    for label, name in enumerate(("cup", "plate")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(15):
            exif = Image.Exif()
            exif.get_ifd(0x8769)[0x9003] = f"2026:03:0{label + 1} 12:{number:02d}:00"
            pixels = np.random.default_rng([label, number]).integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.jpg", exif=exif)
            os.utime(tmp_path / "photos" / name / f"{number}.jpg", (NOON, NOON))
    for _ in range(2):  # the second time from the stored inspection
        data = ImageFolder(tmp_path / "photos", image_size=16, num_workers=0, stream=Joint())
        report = describe(data)
    assert report.times is not None and report.times.told == 1 and report.times.known == 30
    console = Console(record=True, width=200)
    print_report(report, console)
    text = " ".join(console.export_text().split())
    assert "EXIF dates of 30 of 30 images: 2026-03-01 12:00 to 2026-03-02 12:14." in text
    assert "tells its class for 100% of 30 images with an EXIF date; the most frequent class is 50%" in text
    write_page(report, data, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("tells its class for 100% of 30 images") == 2  # at the top, too
    assert '<td>class</td><th scope="row"><bdi>cup</bdi></th><td class="date">2026-03-01 12:00</td>' in page
