"""Parts of a run that were given as Python objects and cannot be written in a configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from lightning_vision.results.same_options import option_name

MARK = "not written: "
"""Stands before the reason, in place of the value. No option takes it, so nothing else is run in place of what was meant."""
IN_MAIN = "it is defined in __main__, a notebook or script that another process does not import: move it to a module"


def unwritten(config: dict[str, Any]) -> dict[str, str]:
    """The parts of a configuration that cannot be repeated from it: reasons by dotted option."""
    found: dict[str, str] = {}
    for key, value in _texts(config):
        name = option_name(key).removesuffix(".class_path")
        if is_marked(value):
            found[name] = value.removeprefix(MARK)
        elif value.startswith("__main__."):
            found[name] = IN_MAIN
    return found


def config_text(config: dict[str, Any]) -> str:
    """A configuration as YAML; comments on top name what cannot be repeated from it."""
    notes = "".join(f"# Cannot be repeated from this file: {key}: {why}\n" for key, why in unwritten(config).items())
    return f"{notes}{yaml.safe_dump(config, sort_keys=False, allow_unicode=True)}"


def is_marked(value: object) -> bool:
    """Whether a reason stands in place of a value."""
    return isinstance(value, str) and value.startswith(MARK)


def _texts(config: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys and values of all that is text."""
    if isinstance(config, str):
        yield key, config
    elif isinstance(config, dict | list):
        for name, value in config.items() if isinstance(config, dict) else enumerate(config):
            yield from _texts(value, f"{key}.{name}" if key else str(name))


def without_unwritten(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without what only training needs and could not be written, for what is done with a checkpoint."""
    kept = dict(config)
    for section in ("model", "trainer"):
        if isinstance(config.get(section), dict):
            kept[section] = {
                key: [item for item in value if not is_marked(item)] if isinstance(value, list) else value
                for key, value in config[section].items()
                if not is_marked(value)
            }
    return kept
