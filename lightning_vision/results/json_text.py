"""What JSON can hold of values, and its text: a line per field and per row of a matrix."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, Final

from pydantic_core import to_json

from lightning_vision.terminal.wording import spelt

_NUMBERS: Final = frozenset({int, float, type(None)})
"""Types of the numbers in a matrix and of a class's scores, which are looked at together: there may be ten thousands."""


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
        return value if _are_writable(value.values()) else {key: writable(item) for key, item in value.items()}
    return value


def json_text(value: object, margin: str = "") -> str:
    """JSON with a line per field and per row of a matrix; `indent=2` would give each of 38,416 cells its own."""
    inner = margin + "  "
    if isinstance(value, dict) and value:
        if _without_lists(value):
            return to_json(value, indent=2).decode().replace("\n", f"\n{margin}")
        lines = [f"{inner}{to_json(key).decode()}: {json_text(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{margin}}}"
    if isinstance(value, list) and value and isinstance(value[0], list | dict):
        return "[\n" + ",\n".join(inner + json_text(item, inner) for item in value) + f"\n{margin}]"
    return to_json(value).decode()  # ten times as fast as json.dumps on the numbers of a long stream


def _are_writable(values: Collection[Any]) -> bool:
    """Whether these are finite numbers or None."""
    return set(map(type, values)) <= _NUMBERS and all(map(math.isfinite, filter(None, values)))  # 0 is finite too


def _without_lists(value: dict[str, Any]) -> bool:
    """Whether there is no list in it, at any depth."""
    types = set(map(type, value.values()))
    return list not in types and (
        dict not in types or all(_without_lists(item) for item in value.values() if isinstance(item, dict))
    )
