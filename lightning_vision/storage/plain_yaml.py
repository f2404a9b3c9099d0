"""Reads YAML as plain values, and finds keys that stand twice in one mapping."""

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


def with_keys_once(text: str) -> str:
    """The text, in which no mapping holds a key twice.

    YAML forbids it, but PyYAML silently keeps the last value: a second section ``model`` would replace all of the first.

    Raises:
        yaml.YAMLError: A key stands twice, or the text is not YAML.
    """
    lines: list[dict[str, int] | None] = []  # of the keys of each open mapping; None: a sequence
    at_key: list[bool] = []
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.CollectionEndEvent):
            lines.pop()
            at_key.pop()
        elif isinstance(event, yaml.NodeEvent):
            keys = lines[-1] if lines else None
            if keys is not None:
                line = 0 if event.start_mark is None else event.start_mark.line + 1
                if at_key[-1] and isinstance(event, yaml.ScalarEvent) and event.value != "<<":  # which merges others
                    if event.value in keys:
                        raise yaml.YAMLError(
                            f"expected each key once, found {event.value!r} in line {keys[event.value]} and again in line "
                            f"{line}, of which only the last would count. Remove one, or join their contents under one key."
                        )
                    keys[event.value] = line
                at_key[-1] = not at_key[-1]
            if isinstance(event, yaml.CollectionStartEvent):
                lines.append({} if isinstance(event, yaml.MappingStartEvent) else None)
                at_key.append(True)
    return text
