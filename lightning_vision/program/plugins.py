"""Finds strategies and datamodules of other packages through entry points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module, metadata
from typing import Any

import jsonargparse._typehints as typehints

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.learning.strategy import Strategy

# Entry-point group, and the base class of its plugins.
GROUPS: dict[str, type] = {"lightning_vision.strategies": Strategy, "lightning_vision.datamodules": StreamDataModule}
OWN = ("lightning_vision", "strategies", "datamodules")
"""The packages whose classes always keep their short names."""
OFFERING = ("strategies", "datamodules")
"""Those of them that offer the classes of ``__all__``; their other classes are bases, such as ``StepMemory``."""


@dataclass(frozen=True)
class Plugin:
    """One entry point of another package."""

    name: str
    """The name of the class, which users write; that of the entry point if there is no class."""
    group: str
    package: str
    version: str
    found: Any
    """The class; None if it cannot be used by its short name."""
    problem: str = ""


def load_plugins() -> list[Plugin]:
    """Import every installed plugin. A plugin that fails is reported with the reason and does not stop the program.

    Short names of this package take precedence. If two plugins have the same short name, both need their dotted path.
    """
    typehints.get_all_subclass_paths = _subclass_paths
    entries = metadata.entry_points()  # of all groups: each call reads the files of all packages
    plugins = [_load(entry, group) for group in GROUPS for entry in entries.select(group=group)]
    _installed.update(plugin.found for plugin in plugins if plugin.found is not None)
    return [_check_name(plugin, plugins) if plugin.found is not None else plugin for plugin in plugins]


_installed: set[type] = set()


def installed_plugins() -> frozenset[type]:
    """The classes that were found through entry points, including those without a short name."""
    return frozenset(_installed)


def _load(entry: metadata.EntryPoint, group: str) -> Plugin:
    package = entry.dist.name if entry.dist is not None else "?"
    version = entry.dist.version if entry.dist is not None else "?"
    plugin, base = Plugin(entry.name, group, package, version, None), GROUPS[group]
    try:
        found = entry.load()
    except (Exception, SystemExit) as error:  # a plugin's module may raise anything when it is imported
        return replace(plugin, problem=f"{type(error).__name__}: {error}")
    if not (isinstance(found, type) and issubclass(found, base)):
        return replace(plugin, problem=f"expected a subclass of lightning_vision.{base.__name__}, found {entry.value}")
    return replace(plugin, name=found.__name__, found=found)


def _check_name(plugin: Plugin, plugins: list[Plugin]) -> Plugin:
    """The plugin, or a copy with the problem that its name is taken."""
    name, dotted = plugin.name, f"{plugin.found.__module__}.{plugin.found.__qualname__}"
    for cls in _subclasses(GROUPS[plugin.group]):
        if cls.__name__ == name and _is_own(cls.__module__) and is_offered(f"{cls.__module__}.{name}"):
            owner = f"{cls.__module__.split('.')[0]}.{name}"
            return replace(plugin, found=None, problem=f"its name is that of {owner}; write {dotted}")
    for rival in plugins:
        if (rival.group, rival.name) == (plugin.group, name) and rival.found not in (None, plugin.found):
            words = f"{rival.package} {rival.version} has a class {name} too, so neither can be used by that name; write {dotted}"
            return replace(plugin, found=None, problem=words)
    return plugin


def _is_own(path: str) -> bool:
    return path.split(".")[0] in OWN


def is_offered(path: str) -> bool:
    """Whether a user may choose the class with a dotted path by its short name: each class but the bases of this package."""
    package = path.partition(".")[0]
    return package not in OFFERING or path.rpartition(".")[2] in import_module(package).__all__


def _subclasses(cls: type) -> Iterator[type]:
    subclasses: list[type] = cls.__subclasses__()
    for subclass in subclasses:
        yield subclass
        yield from _subclasses(subclass)


_original: Any = typehints.get_all_subclass_paths


def _subclass_paths(*args: Any, **options: Any) -> list[str]:
    """The classes with a short name; only that of this package if there is one, and none of its bases.

    jsonargparse refuses a short name that two classes have, so a plugin's class would make the name of this package's
    class unusable. This patches a private function; a test checks it.
    """
    paths: list[str] = [path for path in _original(*args, **options) if is_offered(path)]
    own = {path.rsplit(".", 1)[-1] for path in paths if _is_own(path)}
    return [path for path in paths if _is_own(path) or path.rsplit(".", 1)[-1] not in own]
