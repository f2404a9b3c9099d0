"""The order of a column's values: numbers by size, dates and months by time, versions by number, other text naturally."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

from packaging.version import InvalidVersion, Version

from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import listed, natural_key

NUMERIC_DATE = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d{2})((?:[ T]|, ).*)?")
"""Day and month, in whichever order, and the year; a time of day may follow."""
MONTH_YEAR = re.compile(r"(\d{1,2})[./-](\d{4})")
DAY_MONTH = re.compile(r"\d{1,2}[./-]\d{1,2}\.?")
ISO = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}.*|\d{8}(T.*)?")
QUARTER = re.compile(r"q(?:uarter)? ?([1-4])[ ,/-]*(\d{4})|(\d{4})[ ,/-]*q([1-4])", re.IGNORECASE)
VERSION = re.compile(r"v?\d+(\.\d+)+([-.+_]?[a-z].*)?|v\d+([-.+_]?[a-z].*)?", re.IGNORECASE)
MONTHS = {
    name: number
    for names in (calendar.month_name, calendar.month_abbr, ["", *[""] * 8, "sept"])
    for number, text in enumerate(names)
    if (name := text.casefold())
}
WEEKDAYS = {
    name: number
    for names in (calendar.day_name, calendar.day_abbr)
    for number, text in enumerate(names)
    if (name := text.casefold())
}

Key = Callable[[str], Any]


def ordered_texts(values: Sequence[str], column: str, date_format: str | None = None) -> list[str]:
    """The texts in ascending order.

    Args:
        values: Different texts.
        column: Their column, for errors.
        date_format: How dates are written, as ``datetime.strptime`` names it: ``%d.%m.%Y``.

    Raises:
        DataError: They are dates of which it is not clear which number is the day, or no dates in ``date_format``.
    """
    if date_format is not None:
        return sorted(values, key=lambda value: _stated(value, date_format, column))
    texts = [value.strip() for value in values]
    for key in (_iso_key(texts, column), _numeric_date_key(texts, column), _month_key(texts), _version_key(texts)):
        if key is not None:
            return sorted(values, key=lambda value: (key(value.strip()), natural_key(value)))
    return sorted(values, key=natural_key)


def date_range(values: Sequence[str], column: str) -> tuple[str, str] | None:
    """The first and the last of some dates with day, month and year; None if they are no dates, or not clearly.

    Args:
        values: Different texts.
        column: Their column.
    """
    texts = [value.strip() for value in values]
    if not texts:
        return None
    try:
        key = _iso_key(texts, column) or _numeric_date_key(texts, column)
    except DataError:  # a run in the order of this column says why
        return None
    return None if key is None else (min(texts, key=key), max(texts, key=key))


def _stated(value: str, date_format: str, column: str) -> datetime:
    try:
        found = datetime.strptime(value.strip(), date_format)
    except ValueError:
        raise DataError(
            f"The column '{column}' has the value {value!r}, which is no date in the format {date_format!r}. Correct the "
            "value, or the date_format of data.stream."
        ) from None
    return found if found.tzinfo is None else found.astimezone(UTC).replace(tzinfo=None)


def _iso_key(texts: Sequence[str], column: str) -> Key | None:
    """Dates that begin with the year."""
    if not all(ISO.fullmatch(text) for text in texts):
        return None
    parsed = {}
    for text in texts:
        plain = re.sub(
            r"^(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})", lambda m: f"{m[1]}-{int(m[2]):02d}-{int(m[3]):02d}", text
        )
        try:
            parsed[text] = datetime.fromisoformat(plain)
        except ValueError:
            if re.fullmatch(r"\d{8}", text):
                return None  # numbers of 8 digits
            raise DataError(
                f"The column '{column}' has dates, and the value {text!r} is none. Correct it, or state how dates are "
                "written with the date_format of data.stream."
            ) from None
    zoned = {value.tzinfo is not None for value in parsed.values()}
    if len(zoned) > 1:
        with_zone = next(text for text, value in parsed.items() if value.tzinfo is not None)
        raise DataError(
            f"The column '{column}' has times with a time zone ({with_zone!r}) and without one, which have no order. Write "
            "all with a time zone, or none."
        )
    return lambda text: parsed[text]


def _numeric_date_key(texts: Sequence[str], column: str) -> Key | None:
    """Dates that end with the year: 31.12.2025 or 12/31/2025; refused if it is not clear which number is the day."""
    found = [NUMERIC_DATE.fullmatch(text) for text in texts]
    if all(DAY_MONTH.fullmatch(text) for text in texts) and any(text.startswith("0") for text in texts):
        raise DataError(
            f"The column '{column}' has dates without a year, such as {listed(texts, 2)}. Write them as 2026-03-01, or state "
            "how they are written with data.stream.date_format, for example '%d.%m.'."
        )
    matches = [match for match in found if match is not None]
    if len(matches) < len(texts) or not texts:
        return None
    first = max(int(match[1]) for match in matches)
    second = max(int(match[3]) for match in matches)
    separator = matches[0][2]
    formats = (f"'%d{separator}%m{separator}%Y'", f"'%m{separator}%d{separator}%Y'")
    if any(len(match[4]) == 2 for match in matches) or (first <= 12) == (second <= 12):
        raise DataError(
            f"The column '{column}' has dates such as {listed(texts, 3)}, and it is not clear which number is the day, the "
            "month or the year. Write them as 2026-03-01, or state how they are written: data.stream.date_format is "
            f"{formats[0]} or {formats[1]}."
        )
    parsed = {}
    for match in matches:
        day, month = (match[1], match[3]) if first > 12 else (match[3], match[1])
        try:
            parsed[match[0]] = (date(int(match[4]), int(month), int(day)), natural_key(match[5] or ""))
        except ValueError:
            raise DataError(
                f"The column '{column}' has the value {match[0]!r}, which is no date. Correct it."
            ) from None
    return lambda text: parsed[text]


def _month_key(texts: Sequence[str]) -> Key | None:
    """Months by name or number, with or without year and day; quarters; days of the week."""
    parsed: dict[str, tuple[int, int, int]] = {}
    for text in texts:
        if (found := _month(text)) is None:
            break
        parsed[text] = found
    else:
        with_year = {value[0] > 0 for value in parsed.values()}
        return (lambda text: parsed[text]) if len(with_year) == 1 else None
    if all(text.casefold().rstrip(".") in WEEKDAYS for text in texts):
        return lambda text: WEEKDAYS[text.casefold().rstrip(".")]
    return None


def _month(text: str) -> tuple[int, int, int] | None:
    """Year (0 if none), month and day (0 if none) of a text."""
    if match := MONTH_YEAR.fullmatch(text):
        return (int(match[2]), int(match[1]), 0) if 1 <= int(match[1]) <= 12 else None
    if match := QUARTER.fullmatch(text):
        return int(match[2] or match[3]), 3 * int(match[1] or match[4]), 0
    words = re.findall(r"[^\W\d_]+|\d+", text.casefold())
    months = [MONTHS[word] for word in words if word in MONTHS]
    numbers = [word for word in words if word.isdigit()]
    others = [
        word for word in words if word not in MONTHS and not word.isdigit() and word not in ("st", "nd", "rd", "th")
    ]
    if len(months) != 1 or others or len(numbers) > 2:
        return None
    years = [int(word) for word in numbers if len(word) == 4]
    days = [int(word) for word in numbers if len(word) <= 2]
    if len(years) > 1 or len(days) > 1 or len(years) + len(days) != len(numbers):
        return None
    return (years or [0])[0], months[0], (days or [0])[0]


def _version_key(texts: Sequence[str]) -> Key | None:
    """Versions: v1.10 comes after v1.9, and 2.0rc1 before 2.0."""
    if not texts or not all(VERSION.fullmatch(text) for text in texts):
        return None
    try:
        parsed = {text: Version(text) for text in texts}
    except InvalidVersion:
        return None
    return lambda text: parsed[text]


def is_number_column(name: str, texts: Sequence[str]) -> bool:
    """Whether different texts, each of which is a number, mean numbers: not versions (1.9, 1.10) or dates (01.2026)."""
    if re.search(r"version|release|firmware|revision", name, re.IGNORECASE):
        return False
    fractions = [text.partition(".")[2] for text in texts if re.fullmatch(r"\d+\.\d+", text)]
    if len(fractions) < len(texts) or not fractions:
        return True
    if len({len(fraction) for fraction in fractions}) > 1 and any(
        len(fraction) > 1 and fraction.endswith("0") for fraction in fractions
    ):
        return False
    months = [re.fullmatch(r"(\d{1,2})\.(?:19|20)\d\d", text) for text in texts]
    if all(match is not None and 1 <= int(match[1]) <= 12 for match in months):
        return False
    days = all(re.fullmatch(r"\d\d\.\d\d", text) for text in texts)
    return not (days and any(text.startswith("0") and not text.startswith("00") for text in texts))
