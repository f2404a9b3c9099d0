"""A file of options from any source, read as plain values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning_vision.former_names import with_present_options, with_present_paths
from lightning_vision.storage.plain_yaml import MOST_NESTED, load_yaml

MOST_OPTIONS = 100_000
"""Maximum number of options; a short file with nested aliases can expand to more than fits into memory."""


def read_options_file(path: Path, tell: Callable[[str], object] = lambda _: None) -> dict[str, Any]:
    """The options of a YAML file, with current names of classes and options; nothing is executed.

    Args:
        path: The file.
        tell: Called with a sentence for each option that has a former name in the file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not text, contains no options, or expands to more than ``MOST_OPTIONS``.
        RecursionError: Its options are nested too deeply.
        yaml.YAMLError: It is not YAML, or contains more than plain values.
    """
    content = load_yaml(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("it contains no options")
    if _size(content, {}) > MOST_OPTIONS:
        raise ValueError(f"it expands to more than {MOST_OPTIONS:,} options")
    return {str(key): with_present_options(with_present_paths(value), tell) for key, value in content.items()}


def _size(value: Any, known: dict[int, int], depth: int = 0) -> int:
    """Number of values in a nested value, counting each reference to an alias."""
    if not isinstance(value, dict | list):
        return 1
    if depth > MOST_NESTED:
        raise RecursionError("it is nested too deeply")
    if id(value) not in known:
        items = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(item, known, depth + 1) for item in items)
    return known[id(value)]
