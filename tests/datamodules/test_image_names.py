"""Names in tables lead to images, or nowhere; never to another image."""

from pathlib import Path

import pandas as pd
import pytest

from datamodules.image_names import NOWHERE, SEVERAL, ImageNames

PATHS = ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/deep/3.PNG", "4.jpeg"]


def places(*names: str, folder: str = "", root: str = "/data/photos") -> list[int]:
    found = ImageNames(PATHS, Path(root)).locate(pd.Series(list(names), dtype="str"), folder)
    return [int(place) for place in found.places]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a/1.jpg", 0),
        ("a/1", 0),
        ("2.jpg", 1),
        ("2", 1),
        ("1.jpg", SEVERAL),
        ("deep/3", 3),
        ("3.png", 3),
        ("4.jpg", 4),
        ("photos/b/1.jpg", 2),
        ("/mnt/photos/b/1.jpg", 2),
        ("D:\\photos\\b\\1.jpg", 2),
        ("/data/photos/b/1.jpg", 2),
        ("c/1.jpg", NOWHERE),
        ("5", NOWHERE),
        ("", NOWHERE),
    ],
)
def test_one_name(name: str, place: int) -> None:
    assert places("a/2.jpg", name)[1] == place


def test_the_folder_of_the_table_comes_first() -> None:
    assert places("1.jpg", folder="b") == [2]
    assert places("a/1.jpg", folder="b") == [0]


def test_the_same_name_goes_before_another_suffix() -> None:
    images = ImageNames(["x.jpg", "sub/x.png"], Path("/data"))
    assert images.locate(pd.Series(["x.png"], dtype="str")).places.tolist() == [1]


def test_a_beginning_that_all_share_is_dropped_and_said() -> None:
    found = ImageNames(PATHS, Path("/data")).locate(pd.Series(["/mnt/x/a/1.jpg", "/mnt/x/b/1.jpg"], dtype="str"))
    assert found.places.tolist() == [0, 2] and found.dropped == "/mnt/x/"


def test_another_suffix_is_counted() -> None:
    found = ImageNames(PATHS, Path("/data")).locate(pd.Series(["a/2.png", "4.jpeg", "3"], dtype="str"))
    assert found.places.tolist() == [1, 4, 3] and found.other_suffix == 1
