"""A configured object as a configuration names it, for the record of a run."""

import inspect
from collections.abc import Mapping
from typing import Any


def class_path(thing: object) -> str:
    """The dotted path of an object's class."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def short_name(component: Any, default: str) -> str:
    """The name of a configured component's class without its module; the default where none is configured."""
    return default if component is None else str(component["class_path"]).rsplit(".", 1)[-1]


def init_args_of(thing: object, base: type) -> dict[str, Any]:
    """The arguments of an object's constructor, from the attributes of the same names, as plain values.

    Args:
        thing: The object; its classes up to ``base`` may hand on what they do not name themselves.
        base: The last class whose constructor is looked at.
    """
    names: dict[str, None] = {}
    for cls in type(thing).__mro__:
        if "__init__" in vars(cls) and issubclass(cls, base):
            parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
            names |= {p.name: None for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break  # it hands nothing on
    kept = vars(thing)
    return {name: plain(kept[name]) for name in names if name in kept}


def plain(value: Any) -> Any:
    """A value as YAML would hold it."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "describe"):
        described = value.describe()
        return {key: described[key] for key in ("class_path", "init_args")}
    return str(value)
