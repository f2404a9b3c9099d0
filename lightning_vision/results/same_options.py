"""Compares two configurations, one of which may be from another version with other options or defaults."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from lightning_vision.class_path import plain
from lightning_vision.errors import CheckpointError
from lightning_vision.results.resume_options import is_free
from lightning_vision.terminal.wording import in_lines

OWNERS = {"model": "lightning_vision.learning.classifier.ContinualClassifier", "trainer": "lightning.pytorch.Trainer"}
"""The classes of the parts of a configuration that name none."""
ABSENT: Final = object()


@dataclass(frozen=True)
class Difference:
    """An option whose value prevents resuming.

    Args:
        key: Dotted, as in config.yaml.
        before: Its value then.
        now: Its value now.
        why: An explanation in parentheses, or "".
    """

    key: str
    before: Any
    now: Any
    why: str = ""

    def __str__(self) -> str:
        return f"{self.key}: {self.before!r} then, {self.now!r} now{self.why}"


@dataclass(frozen=True)
class Kept:
    """An option whose default has changed since, and which keeps its former value.

    Args:
        key: Dotted, as in config.yaml.
        before: What was written: the default of an earlier version.
        now: The present default.
    """

    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{option_name(self.key)}: {self.before!r}, as in the run; the default is now {self.now!r}"


def compare_options(
    before: Mapping[str, Any], now: Mapping[str, Any], owner: type | None = None, key: str = ""
) -> Iterator[Difference | Kept]:
    """The differences between the options with which a run was started and those with which it should resume.

    An option that was not written had its present default, or what its class says in ``EARLIER_DEFAULTS``: then no
    version knew it. One whose written value is the earlier default that its class names, and that has its present default
    now, keeps what was written. Options that may differ on resume are left out.

    Args:
        before: Written by this version or an earlier one, as plain values; nothing of it is imported.
        now: The options now, all of them, as plain values; their classes are imported already.
        owner: The class whose constructor takes these options; None where it is not known.
        key: Where they stand in the configuration, dotted.
    """
    earlier, present = earlier_defaults(owner), defaults_of(owner)
    for name in sorted(before.keys() | now.keys()):
        full = f"{key}.{name}" if key else name
        old, new = before.get(name, ABSENT), now.get(name, ABSENT)
        if is_free(full):
            continue
        if old is ABSENT:
            old = earlier.get(name, present.get(name))
            if old != new:
                why = f" (the option did not exist then; to resume, give --{option_name(full)}={_word(old)})"
                yield Difference(full, old, new, why if owner is not None else "")
        elif new is ABSENT:
            if old is not None and earlier.get(name, ABSENT) != old:
                why = " (this version has no such option: finish the run with the version that started it)"
                yield Difference(full, old, None, why if owner is not None else "")
        elif not _is_same(old, new):
            if name in earlier and old == earlier[name] and new == present.get(name):
                yield Kept(full, old, new)
            else:
                yield from _compare_values(old, new, full)


def _is_same(old: Any, new: Any) -> bool:
    """Whether two values are one, though a number was written as a word: ``--trainer.devices=1`` is."""
    words = {type(old), type(new)} == {int, str}
    return str(old) == str(new) if words else bool(old == new)


def _compare_values(old: Any, new: Any, key: str) -> Iterator[Difference | Kept]:
    """Two values of one option, down to the options of components that differ."""
    if key in OWNERS and isinstance(old, dict) and isinstance(new, dict):
        yield from compare_options(old, new, _class_at(OWNERS[key]), key)
    elif _is_component(old) and _is_component(new):
        if old["class_path"] != new["class_path"]:
            yield Difference(f"{key}.class_path", old["class_path"], new["class_path"])
            return
        owner = _class_at(new["class_path"])
        yield from compare_options(_options(old), _options(new), owner, f"{key}.init_args")
        then, now = ({k: v for k, v in each.items() if k not in ("class_path", "init_args")} for each in (old, new))
        yield from compare_options(then, now, key=key)
    elif isinstance(old, dict) and isinstance(new, dict):
        yield from compare_options(old, new, key=key)
    elif isinstance(old, list) and isinstance(new, list) and any(isinstance(item, dict) for item in [*old, *new]):
        for number in range(max(len(old), len(new))):
            one, other = (each[number] if number < len(each) else None for each in (old, new))
            if one != other:
                yield from _compare_values(one, other, f"{key}.{number}")
    else:
        yield Difference(key, old, new)


def _is_component(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("class_path"), str)


def _options(component: Mapping[str, Any]) -> Mapping[str, Any]:
    """A component's options; none are written of a class that has none."""
    options = component.get("init_args")
    return options if isinstance(options, dict) else {}


def _class_at(path: str) -> type | None:
    """A class that is imported already; None if it is not."""
    module, _, name = path.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None


def defaults_of(owner: type | None) -> dict[str, Any]:
    """The present defaults of a class's options, as plain values; None of one that must be given."""
    found: dict[str, Any] = {}
    for cls in owner.__mro__ if owner is not None and owner.__init__ is not object.__init__ else ():  # type: ignore[misc]  # of the class
        if "__init__" in vars(cls):
            _, *parameters = inspect.signature(cls.__init__).parameters.values()  # type: ignore[misc]
            for each in parameters:
                if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY):
                    default = None if each.default is each.empty else _plain(each.default)
                    found.setdefault(each.name, default)
            if not any(each.kind is each.VAR_KEYWORD for each in parameters):
                break  # it hands nothing on
    return found


def earlier_defaults(owner: type | None) -> dict[str, Any]:
    """What options of a class had for a value in earlier versions, by its own word and that of the classes it is built on."""
    found: dict[str, Any] = {}
    for cls in reversed(owner.__mro__) if owner is not None else ():
        found |= {name: _plain(value) for name, value in vars(cls).get("EARLIER_DEFAULTS", {}).items()}
    return found


def with_earlier_defaults(config: Any) -> Any:
    """A configuration in which options that it could not know yet have the value that its version had in their place.

    Args:
        config: Of a run, as plain values; nothing of it is imported.
    """
    if isinstance(config, list):
        return [with_earlier_defaults(item) for item in config]
    if not isinstance(config, dict):
        return config
    filled = {key: with_earlier_defaults(value) for key, value in config.items()}
    owner = _class_at(filled["class_path"]) if _is_component(filled) else None
    earlier, present = earlier_defaults(owner), defaults_of(owner)
    unknown = {key: value for key, value in earlier.items() if key in present}
    return filled | {"init_args": unknown | dict(_options(filled))} if unknown else filled


def _plain(value: Any) -> Any:
    return plain(value.value if isinstance(value, Enum) else value)


def option_name(key: str) -> str:
    """A dotted key of config.yaml as an option of the command line."""
    return ".".join(part for part in key.split(".") if part != "init_args")


def _word(value: Any) -> str:
    """A value as the command line takes it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def check_same_options(before: Mapping[str, Any], now: Mapping[str, Any], run: Path) -> list[Kept]:
    """Compare the configuration of a run with the one that resumes it.

    Args:
        before: The run's, as it was written.
        now: The other.
        run: The run directory.

    Returns:
        The options that keep their former value, since only their default has changed.

    Raises:
        CheckpointError: Options differ; the message lists them with both values.
    """
    found = list(compare_options(before, now))
    differing = [str(each) for each in found if isinstance(each, Difference)]
    if differing:
        raise CheckpointError(
            "\n".join(
                [
                    f"{run} was started with other options; resuming it would mix two runs:",
                    in_lines(differing),
                    f"Use the same options (they are in {run / 'config.yaml'}), or start another run with --run_name.",
                ]
            )
        )
    return [each for each in found if isinstance(each, Kept)]
