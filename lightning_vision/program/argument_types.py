"""Inspects the types of a class's arguments."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection
from datetime import timedelta
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import jsonargparse._typehints as typehints

from lightning_vision.program.known_classes import KINDS

PLAIN: tuple[Any, ...] = (str, int, float, bool, type(None), Any, object, inspect.Parameter.empty, timedelta)
"""Leaf types of which no object is built."""


def hints_of(cls: type) -> dict[str, Any]:
    """The arguments of a class and their types, including those that it passes on to its bases."""
    hints: dict[str, Any] = {}
    for owner in cls.__mro__:
        init: Any = vars(owner).get("__init__")
        if init is None or owner is object:
            continue
        parameters = inspect.signature(init).parameters.values()
        try:
            types = get_type_hints(init, include_extras=True)
        except Exception:  # a name that a third-party module imports only for type checkers
            types = {parameter.name: Callable for parameter in parameters if isinstance(parameter.annotation, str)}
        for parameter in parameters:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):  # these stand for others
                hints.setdefault(parameter.name, types.get(parameter.name, parameter.annotation))
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return hints


def leaves_of(hint: Any) -> list[Any]:
    """The types in a type; of a callable its return type, because a class with arguments can be given for it."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return leaves_of(inner[0])
    if origin is Literal:
        return [str]
    if origin in (Union, UnionType):
        return [leaf for each in inner for leaf in leaves_of(each)]
    if origin is not None and inspect.isclass(origin) and issubclass(origin, Callable):  # type: ignore[arg-type]
        returned = leaves_of(inner[-1]) if inner else []
        kinds = [leaf for leaf in returned if inspect.isclass(leaf) and issubclass(leaf, KINDS)]
        return kinds or [Callable]
    if inspect.isclass(origin) and origin is not type and issubclass(origin, Collection):
        return [leaf for each in inner if each is not Ellipsis for leaf in leaves_of(each)] or [Any]
    return [hint]


def is_plain(leaf: Any) -> bool:
    """Whether values of a type are plain, so that nothing is built or imported for them."""
    if any(leaf is each for each in PLAIN):
        return True
    return inspect.isclass(leaf) and (issubclass(leaf, Enum | os.PathLike) or leaf in (list, dict, tuple, set))


def is_text(leaves: list[Any]) -> bool:
    """Whether an argument of these types takes text, or nothing."""
    return all(
        leaf in (str, type(None)) or (inspect.isclass(leaf) and issubclass(leaf, os.PathLike)) for leaf in leaves
    )


_original: Any = typehints.sort_subtypes_for_union


def _whole_numbers_first(subtypes: Any, *others: Any) -> list[Any]:
    """The types of a union in the order in which they are tried, ``int`` before ``float``."""
    found = list(_original(subtypes, *others))
    if int in found and float in found:
        found.remove(int)
        found.insert(found.index(float), int)
    return found


def install() -> None:
    """Make jsonargparse read 1 as 1 and not as 1.0 where both may be given. This patches a private function; a test checks it.

    The source does not decide which of the two is tried first: ``typing`` keeps what it has built, takes
    ``Union[float, int]`` and ``Union[int, float]`` for equal, and so gives a class the order of whatever was imported
    before it. Lightning takes ``limit_test_batches: 1`` as one batch and 1.0 as all of them.
    """
    typehints.sort_subtypes_for_union = _whole_numbers_first
