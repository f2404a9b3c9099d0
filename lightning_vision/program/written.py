"""Python objects in the form of a configuration, with a reason in place of those that it cannot hold."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import Enum
from functools import partial
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

from lightning_vision.class_path import BuiltWith, arguments_of
from lightning_vision.results.unwritten import MARK
from lightning_vision.terminal.wording import spelt


def written(value: Any) -> Any:
    """A value as plain values; text that begins with ``MARK`` replaces parts that cannot be written.

    Objects of our own classes are written as ``class_path`` and ``init_args``, with the arguments of their constructors;
    classes, and ``functools.partial`` of a class, by their import path.
    """
    if isinstance(value, str | PurePath):
        text = str(value)
        return text if spelt(text) == text else f"{MARK}the name {spelt(text)} holds bytes that are no UTF-8"
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Enum):
        return written(value.value)
    if isinstance(value, Mapping):
        return {str(key): written(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [written(item) for item in value]
    if isinstance(value, type):
        return _path(value)
    if isinstance(value, partial) and isinstance(value.func, type) and not value.args:
        return _component(value.func, value.keywords)
    if isinstance(value, BuiltWith):
        return _component(type(value), arguments_of(value))
    if callable(value) and not isinstance(value, torch.nn.Module):
        name = getattr(value, "__qualname__", type(value).__qualname__).rpartition(".")[2]
        found = "a lambda" if name == "<lambda>" else f"the function {name}"
        return f"{MARK}{found}; a configuration takes a class, or functools.partial of a class with named arguments"
    return (
        f"{MARK}the arguments of an object of {type(value).__module__}.{type(value).__qualname__} are not known; "
        "given as {class_path: ..., init_args: ...} it could be"
    )


def is_written(value: Any) -> bool:
    """Whether ``written`` found plain values for all parts of a value, so that any process can build it."""
    if isinstance(value, Mapping):
        return all(is_written(item) for item in value.values())
    if isinstance(value, list):
        return all(is_written(item) for item in value)
    return not (isinstance(value, str) and value.startswith((MARK, "__main__.")))


def _component(made_by: type, arguments: Mapping[str, Any]) -> Any:
    return {"class_path": _path(made_by), "init_args": written(arguments)}


def _path(cls: type) -> str:
    """The import path of a class: the shortest one, as on the command line."""
    parts = cls.__module__.split(".")
    for package in (".".join(parts[:end]) for end in range(1, len(parts) + 1)):
        if getattr(sys.modules.get(package), cls.__qualname__, None) is cls:
            return f"{package}.{cls.__qualname__}"
    return f"{MARK}defined inside a function or a class, from where it cannot be imported: {cls.__module__}.{cls.__qualname__}"
