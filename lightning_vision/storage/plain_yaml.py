"""Reads YAML as plain values."""

from __future__ import annotations

from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as fast where PyYAML has its compiled part."""
MOST_NESTED = 100
"""Maximum nesting depth: the compiled part recurses without a limit, so that a deeper text could end the process."""


def load_yaml(text: str) -> Any:
    """The plain values of a text; nothing is executed.

    Raises:
        yaml.YAMLError: It is not YAML, or contains more than plain values.
        RecursionError: Its values are nested too deeply.
    """
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_NESTED:
            raise RecursionError("it is nested too deeply")
    return yaml.load(text, Loader=LOADER)
