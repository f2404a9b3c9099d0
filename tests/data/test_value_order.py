"""Columns of dates, months and versions are in the order that they mean, or refused."""

import pytest

from lightning_vision.data.value_order import is_number_column, ordered_texts
from lightning_vision.errors import DataError


@pytest.mark.parametrize(
    "ordered",
    [
        ["2025-12-31", "2026-01-01", "2026-02-02"],
        ["2025-12-31T23:00", "2026-01-01T01:00"],
        ["2026-01-01T12:00+09:00", "2026-01-01T04:00+00:00"],
        ["2026-1-5", "2026-01-15", "2026-2-1"],
        ["2025/12/31", "2026/01/02"],
        ["31.12.2025", "01.01.2026", "15.01.2026", "02.02.2026"],
        ["31/12/2025", "1/1/2026"],
        ["12/31/2025", "01/02/2026"],
        ["31.12.2025 23:10", "01.01.2026 9:05", "01.01.2026 10:05"],
        ["12/2025", "01/2026"],
        ["Jan 2026", "Feb 2026", "Mar 2026"],
        ["December 2025", "January 2026"],
        ["31 Dec 2025", "1 Jan 2026"],
        ["Dec 31, 2025", "Jan 1st, 2026"],
        ["jan", "feb", "sept", "oct"],
        ["Q4 2025", "Q1 2026"],
        ["2025-Q4", "2026-Q1"],
        ["Monday", "Tuesday", "Sunday"],
        ["v1.2", "v1.9", "v1.10", "v2.0rc1", "v2.0"],
        ["1.2.9", "1.2.10"],
        ["img2", "IMG10"],
        ["a", "b", "may"],
    ],
)
def test_the_order(ordered: list[str]) -> None:
    assert ordered_texts(sorted(ordered), "day") == ordered
    assert ordered_texts(ordered[::-1], "day") == ordered


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (
            ["01.02.2026", "03.04.2026"],
            r"not clear which number is the day.*date_format is '%d\.%m\.%Y' or '%m\.%d\.%Y'",
        ),
        (["01/02/26", "13/04/26"], "not clear which number"),
        (["13/02/2026", "02/13/2026"], "not clear which number"),
        (["31.02.2026", "01.01.2026"], "'31.02.2026', which is no date"),
        (["2026-02-30", "2026-01-01"], "'2026-02-30' is none"),
        (["2026-01-01T00:00", "2026-01-01T00:00Z"], "with a time zone .* and without"),
        (["31.12.", "01.01."], "dates without a year"),
    ],
)
def test_refused(values: list[str], match: str) -> None:
    with pytest.raises(DataError, match=match):
        ordered_texts(values, "day")


def test_a_stated_format() -> None:
    assert ordered_texts(["02.01.2026", "01.02.2026"], "day", "%d.%m.%Y") == ["02.01.2026", "01.02.2026"]
    assert ordered_texts(["02.01.2026", "01.02.2026"], "day", "%m.%d.%Y") == ["01.02.2026", "02.01.2026"]
    with pytest.raises(DataError, match=r"'x', which is no date in the format '%d"):
        ordered_texts(["x"], "day", "%d.%m.%Y")


@pytest.mark.parametrize(
    ("name", "texts", "numbers"),
    [
        ("width", ["0.5", "0.25"], True),
        ("width", ["0.50", "0.25"], True),
        ("day", ["1", "2"], True),
        ("build", ["1.9", "1.10"], False),
        ("firmware", ["1.9", "1.11"], False),
        ("month", ["12.2025", "01.2026"], False),
        ("day", ["31.12", "01.01"], False),
        ("share", ["0.01", "0.02"], True),
    ],
)
def test_which_columns_are_numbers(name: str, texts: list[str], numbers: bool) -> None:
    assert is_number_column(name, texts) is numbers
