"""A configured object as a configuration names it, for the record of a run."""

import inspect
from collections.abc import Mapping
from typing import Any, Self


class BuiltWith:
    """Keeps the arguments that an object was built with, of the outermost call, as they were given."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keep the arguments; lists and mappings among them are copied, so that they stay what they were."""
        made = super().__new__(cls)
        vars(made)["_built_with"] = (_copied(args), _copied(kwargs))
        return made


def arguments_of(thing: BuiltWith) -> dict[str, Any]:
    """What an object was built with, by name; defaults that were not given are left out."""
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
