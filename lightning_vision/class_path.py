"""Class paths and constructor arguments of configured objects, for the record of a run."""

import inspect
from collections.abc import Mapping
from typing import Any, Self

DEFAULT_STRATEGY = "FullFineTune"
"""What ``lightning_vision.Strategy`` does by default, and how runs without a configured strategy are called."""


class BuiltWith:
    """Stores the constructor arguments of an object, those of the outermost call."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Store the arguments; lists and mappings are copied, so that later changes do not affect them."""
        made = super().__new__(cls)
        vars(made)["_built_with"] = (_copied(args), _copied(kwargs))
        return made


def arguments_of(thing: BuiltWith) -> dict[str, Any]:
    """The constructor arguments of an object by name, without defaults that were not given."""
    args, kwargs = vars(thing)["_built_with"]
    signature = inspect.signature(type(thing))
    found = dict(signature.bind(*args, **kwargs).arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            found |= found.pop(parameter.name, {})
    return found


def _copied(value: Any) -> Any:
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    return type(value)(_copied(item) for item in value) if type(value) in (list, tuple) else value


def class_path(thing: object) -> str:
    """The dotted path of an object's class."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def strategy_name(path: str) -> str:
    """The name of a learning strategy, from the dotted path of its class."""
    return DEFAULT_STRATEGY if path == "lightning_vision.learning.strategy.Strategy" else path.rsplit(".", 1)[-1]


def short_name(component: Any, default: str) -> str:
    """The name of a configured component's class without its module; the default if none is configured."""
    return default if component is None else str(component["class_path"]).rsplit(".", 1)[-1]


def init_args_of(thing: object, base: type) -> dict[str, Any]:
    """The arguments of an object's constructor, from the attributes of the same names, as plain values.

    Args:
        thing: The object; its classes up to ``base`` may pass on arguments that they do not name.
        base: The last class whose constructor is inspected.
    """
    kept = vars(thing)
    return {name: plain(kept[name]) for name in arguments_taken(type(thing), base) if name in kept}


def arguments_taken(kind: type, base: type) -> list[str]:
    """The names of the arguments of a class's constructor, with those that it passes on to its classes up to ``base``."""
    names: dict[str, None] = {}
    for cls in kind.__mro__:
        if "__init__" in vars(cls) and issubclass(cls, base):
            parameters = list(inspect.signature(vars(cls)["__init__"]).parameters.values())[1:]
            names |= {p.name: None for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break  # it passes nothing on
    return list(names)


def plain(value: Any) -> Any:
    """A value in the form of YAML."""
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
