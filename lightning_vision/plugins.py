"""Strategies and datamodules of other packages, found through entry points."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from typing import Any

GROUPS = ("lightning_vision.strategies", "lightning_vision.datamodules")


@dataclass(frozen=True)
class Plugin:
    """One entry point of another package."""

    name: str
    group: str
    package: str
    version: str
    found: Any
    """The class; None if it could not be imported."""
    problem: str = ""


def load_plugins() -> list[Plugin]:
    """Import every installed plugin. One that fails is named with its reason and does not stop the program."""
    plugins = []
    for group in GROUPS:
        for entry in metadata.entry_points(group=group):
            package = entry.dist.name if entry.dist is not None else "?"
            version = entry.dist.version if entry.dist is not None else "?"
            try:
                plugins.append(Plugin(entry.name, group, package, version, entry.load()))
            except Exception as error:  # whatever a stranger's module raises when it is imported
                plugins.append(Plugin(entry.name, group, package, version, None, f"{type(error).__name__}: {error}"))
    return plugins
