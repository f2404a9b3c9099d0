"""Options of a subcommand, given by name from Python: checked as the command line's parser does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from lightning_vision.errors import ConfigError
from lightning_vision.explanation.options import ExplainOptions
from lightning_vision.exporting.options import ExportOptions
from lightning_vision.trust.options import TrustOptions

_Options = TypeVar("_Options", ExplainOptions, ExportOptions, TrustOptions)
_TAKEN: dict[Any, Any] = {int: Integral, float: Real, str: str | os.PathLike}


def checked_options(kind: type[_Options], given: Mapping[str, Any]) -> _Options:
    """Options by name.

    Raises:
        ConfigError: There is no such option, or its value is of another type.
    """
    known, hints = [field.name for field in fields(kind)], get_type_hints(kind)
    for name, value in given.items():
        if name not in known:
            raise ConfigError(f"Expected one of the options {', '.join(known)}, found {name!r}.")
        if not _fits(value, hints[name]):
            raise ConfigError(f"{name}: expected {_words(hints[name])}, found {value!r}.")
    return kind(**given)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type: a plain one, a list of one, a literal, or a union of these."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in parts
    if origin is list:
        return isinstance(value, list | tuple) and all(_fits(item, parts[0]) for item in value)
    if parts:
        return any(_fits(value, part) for part in parts)
    return isinstance(value, _TAKEN.get(hint, hint)) and (hint is bool or not isinstance(value, bool))


def _words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    if get_args(hint):
        return " or ".join(map(_words, get_args(hint)))
    return "None" if hint is type(None) else str(getattr(hint, "__name__", hint))
