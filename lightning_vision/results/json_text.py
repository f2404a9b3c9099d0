"""What JSON can hold of values, and its text: a line per field and per row of a matrix."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Collection
from typing import Any, Final

import numpy as np
from pydantic_core import PydanticSerializationError, to_json

from lightning_vision.terminal.wording import spelt

_LIST_OF_NUMBERS: Final = re.compile(r"\[\n(?:\s+[-+.\deE]+,?\n)+\s*\]")

_NUMBERS: Final = frozenset({int, float, type(None)})
"""Types of the numbers in a matrix and of a class's scores, which are looked at together: there may be ten thousands."""


_WRITABLE: Final = frozenset({int, bool, type(None)})


def writable(value: Any) -> Any:
    """The same value with None in place of NaN and infinity, and texts as UTF-8 can hold them, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value if value.isascii() else spelt(value)
    if isinstance(value, list | tuple):
        return list(value) if _are_writable(value) else [writable(item) for item in value]
    if isinstance(value, dict):
        if set(map(type, value)) != {str} or not all(map(str.isascii, value)):
            value = {spelt(key) if isinstance(key, str) else key: item for key, item in value.items()}
        if _are_writable(value.values()):
            return value
        return {key: item if type(item) in _WRITABLE else writable(item) for key, item in value.items()}
    return value


def json_text(value: object, margin: str = "") -> str:
    """JSON with a line per field and per row of a matrix; `indent=2` would give each of 38,416 cells its own.

    An array (R, C) is a matrix, with null for NaN.
    """
    inner = margin + "  "
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if items and set(map(type, items)) == {dict} and (text := _text_of_records(value)) is not None:
        return text.replace("\n", f"\n{margin}")
    if isinstance(value, dict) and value:
        if _without_lists(value):
            return to_json(value, indent=2).decode().replace("\n", f"\n{margin}")
        lines = [f"{inner}{to_json(key).decode()}: {json_text(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{margin}}}"
    if isinstance(value, np.ndarray):
        rows = [inner + _row_text(row.tobytes(), row.dtype.str) for row in value]
        return "[\n" + ",\n".join(rows) + f"\n{margin}]"
    if isinstance(value, list) and value and isinstance(value[0], list | dict):
        return "[\n" + ",\n".join(inner + json_text(item, inner) for item in value) + f"\n{margin}]"
    return to_json(value).decode()  # ten times as fast as json.dumps on the numbers of a long stream


@functools.lru_cache(maxsize=1024)
def _row_text(row: bytes, dtype: str) -> str:
    """A row of a matrix. Most of a long stream's rows are those that were written after the experience before."""
    return to_json(np.frombuffer(row, dtype=dtype).tolist(), inf_nan_mode="null").decode()


def _text_of_records(records: object) -> str | None:
    """The text of many small objects in one piece; None if they hold more than numbers, texts and lists of numbers."""
    try:
        text = to_json(records, indent=2).decode()
    except PydanticSerializationError:  # of an array
        return None
    text = _LIST_OF_NUMBERS.sub(lambda found: "".join(found[0].split()), text)
    return None if "[\n" in text[1:] else text  # a break of line in a text is escaped


def _are_writable(values: Collection[Any]) -> bool:
    """Whether these are finite numbers or None."""
    return set(map(type, values)) <= _NUMBERS and all(map(math.isfinite, filter(None, values)))  # 0 is finite too


def _without_lists(value: dict[str, Any]) -> bool:
    """Whether there is neither list nor array in it, at any depth."""
    types = set(map(type, value.values()))
    return not types & {list, np.ndarray} and (
        dict not in types or all(_without_lists(item) for item in value.values() if isinstance(item, dict))
    )
