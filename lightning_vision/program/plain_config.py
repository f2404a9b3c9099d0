"""A parsed configuration as plain values."""

from __future__ import annotations

from enum import Enum
from typing import Any

from jsonargparse import Namespace

from lightning_vision.storage.plain_yaml import load_yaml


def use_plain_values(config: Any) -> None:
    """Replace members of string enumerations, the defaults of some of Lightning's callbacks: YAML cannot dump them."""
    for holder in [config] if isinstance(config, Namespace) else config:
        if isinstance(holder, Namespace):
            for key, value in vars(holder).items():
                if isinstance(value, Enum) and isinstance(value, str):
                    setattr(holder, key, str(value.value))
                elif isinstance(value, Namespace | list):
                    use_plain_values(value)


def plain(parser: Any, config: Namespace, subcommand: str) -> dict[str, Any]:
    """The configuration as plain values; parsing has checked it."""
    text = parser.dump(config.clone(), skip_none=False, skip_link_targets=True, skip_validation=True)
    plain: dict[str, Any] = load_yaml(text)[subcommand]
    return plain
