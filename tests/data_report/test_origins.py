"""Where images come from: folders, dates, groups and skipped extensions, counted and bounded."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from photo_folder import write_photos

from datamodules import ImageFolder
from lightning_vision.data.scenarios import Joint
from lightning_vision.data.value_order import date_range
from lightning_vision.data_report import page
from lightning_vision.data_report.origins import DateRange, FolderCount, find_origins
from lightning_vision.data_report.report import describe


def table(**columns: Sequence[object]) -> pd.DataFrame:
    return pd.DataFrame(columns)


def test_folders_are_counted_where_a_class_has_several() -> None:
    paths = ["a/one/1.png", "a/one/2.png", "a/two/1.png", "b/1.png"]
    samples = table(path=paths, label=[0, 0, 0, 1], split=["train"] * 4)
    found = find_origins(samples, ["a", "b"], [])
    assert found.folders == (FolderCount("a", "a/one", 2), FolderCount("a", "a/two", 1), FolderCount("b", "b", 1))


def test_split_folders_are_not_sub_folders() -> None:
    samples = table(path=["train/a/1.png", "test/a/1.png"], label=[0, 0], split=["train", "test"])
    assert find_origins(samples, ["a"], []).folders == ()


def test_dates_of_each_part() -> None:
    samples = table(
        path=list("abcd"), label=[0] * 4, split=["train", "train", "train", "test"],
        day=["2026-03-10", "2026-3-9", None, "2026-04-01"], place=["x", "y", "z", "z"], count=[1, 2, 3, 4],
    )  # fmt: skip
    assert find_origins(samples, ["c"], []).dates == (
        DateRange("day", "train", "2026-3-9", "2026-03-10", values=2, missing=1),
        DateRange("day", "test", "2026-04-01", "2026-04-01", values=1, missing=0),
    )


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        (["31.12.2025", "01.02.2026"], ("31.12.2025", "01.02.2026")),
        (["01.02.2026", "03.04.2026"], None),  # which number is the day is not clear
        (["2026-01-01", "yesterday"], None),
        ([], None),
    ],
)
def test_only_clear_dates(values: list[str], ends: tuple[str, str] | None) -> None:
    assert date_range(values, "day") == ends


def test_groups() -> None:
    samples = table(
        path=[str(row) for row in range(12)], label=[0] * 9 + [1, 0, 1], split=["train"] * 10 + ["test", "train"],
        group=["big"] * 5 + ["two"] * 2 + ["odd"] * 3 + [None, "one"],
    )  # fmt: skip
    found = find_origins(samples, ["a", "b"], []).groups
    assert found is not None and found.groups == 4
    assert found.sizes == (("1", 1, 1), ("2", 1, 2), ("3 to 4", 1, 3), ("5 to 8", 1, 5))
    assert found.of_classes == (("odd", 2),) and found.of_splits == ()
    assert find_origins(samples.drop(columns="group"), ["a", "b"], []).groups is None


def test_skipped_extensions() -> None:
    samples = table(path=["a"], label=[0], split=["train"])
    assert find_origins(samples, ["a"], ["x.TXT", "y.txt", "z", "v.mp4"]).skipped == ((".txt", 2), ("", 1), (".mp4", 1))


def test_the_page_shows_them_and_cuts_long_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("north", "south", "<b>west"):
        for name in ("cats", "dogs"):
            write_photos(tmp_path / "data" / name, [folder], per_class=3, seed=len(folder + name))
    monkeypatch.setattr(page, "MOST_FOLDERS", 4)
    (tmp_path / "data" / "cats" / "notes.md").write_text("x")
    paths = sorted(path.relative_to(tmp_path / "data").as_posix() for path in (tmp_path / "data").rglob("*.jpg"))
    facts = {
        "path": paths,
        "day": [f"2026-03-{1 + row:02d}" for row in range(18)],
        "group": [f"g{row // 9}" for row in range(18)],
    }
    pd.DataFrame(facts).to_csv(tmp_path / "facts.csv", index=False)
    data = ImageFolder(
        tmp_path / "data", tmp_path / "facts.csv", classes_from="folder", num_workers=0, image_size=16, stream=Joint()
    )
    page.write_page(describe(data), data, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "6 folders of images. The first 4 are shown, 2 are left out." in text
    assert "cats/&lt;b&gt;west" in text and "<b>west" not in text
    assert "Folders and dates" in text and "2026-03-01" in text
    assert "Sizes of groups" in text and "9 to 16" in text and "No group has images of several classes." in text
    assert "Skipped files by extension" in text and "<bdi>.md</bdi>" in text
