"""Translates the messages of jsonargparse for users, and suggests similar options and classes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

import jsonargparse._typehints as typehints
import torch
from lightning.pytorch import Callback

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.scenarios import Scenario
from lightning_vision.errors import ConfigError
from lightning_vision.learning.recipe import Recipe
from lightning_vision.learning.strategy import Strategy
from lightning_vision.program.former_options import forget, use_present_options
from lightning_vision.program.plugins import is_offered
from lightning_vision.terminal.messages import print_notice
from lightning_vision.terminal.wording import few, near, nearest_first

# The last part of an option's key: what it takes, and the base class of its values.
KINDS: dict[str, tuple[str, type]] = {
    "strategy": ("learning strategy", Strategy),
    "base_strategy": ("learning strategy", Strategy),
    "data": ("datamodule", StreamDataModule),
    "stream": ("scenario", Scenario),
    "optimizer": ("optimizer", torch.optim.Optimizer),
    "base_optimizer": ("optimizer", torch.optim.Optimizer),
    "lr_scheduler": ("learning-rate scheduler", torch.optim.lr_scheduler.LRScheduler),
    "base_lr_scheduler": ("learning-rate scheduler", torch.optim.lr_scheduler.LRScheduler),
    "callbacks": ("callback", Callback),
}


class ExplainedError(ConfigError):
    """A parser's error whose text is for users already."""


def explain(message: str, options: Iterable[str]) -> str:
    """Translate a parser's message.

    Args:
        message: The message of jsonargparse.
        options: The option strings of the parser.
    """
    keys: list[str] = re.findall(r'[Pp]arser key "([\w.]+)"', message)
    said = _Said(message, ".".join(keys), *KINDS.get((keys or [""])[-1].rsplit(".", 1)[-1], ("class", object)))
    known = [option for option in options if not option.endswith(("+", ".help"))]
    for explanation in (_both_names, _no_datamodule, _unknown_class, _missing_option, _wrong_value, _no_options):
        text = explanation(said)
        if text is not None:
            return text
    return _unknown_option(said, known) or message.strip()


@dataclass(frozen=True)
class _Said:
    """A parser's message and its option."""

    message: str
    key: str
    """Dotted; empty if the message names none."""
    kind: str
    """What the option takes, in words."""
    base: type
    """The base class of its value; object if it is not a class."""

    def find(self, pattern: str) -> str | None:
        """The first group of the pattern's last match."""
        found = re.findall(pattern, self.message)
        return str(found[-1]) if found else None


def _both_names(said: _Said) -> str | None:
    return said.find(r"(\S+ is the former name of .*)")


def _no_datamodule(said: _Said) -> str | None:
    if not re.search(
        r"required: (\w+\.)?data$|StreamDataModule is abstract|subclass of StreamDataModule$",
        said.message.strip(),
        re.M,
    ):
        return None
    if (name := said.find(r"Given value: ([\w.]+)$")) is not None:
        return f"data: {name} is not a datamodule. {_known(name, StreamDataModule)}"
    return (
        "No datamodule is given: expected --data CLASS before its options, or a --config that names one "
        f"(configs/quickstart.yaml). {_known('', StreamDataModule)}"
    )


def _unknown_class(said: _Said) -> str | None:
    key, kind, base = said.key, said.kind, said.base
    if (asked := re.search(r"--([\w.]+)\.help: .*?([\w.]+)$", said.message)) is not None:
        key = f"{asked.group(1)}.help"
        kind, base = KINDS.get(asked.group(1).rsplit(".", 1)[-1], ("class", object))
        return f"Unknown {kind} {asked.group(2)!r} (--{key}). {_known(asked.group(2), base)}"
    problem = re.search(r"Problem with given class_path '([^']+)':\s*(.+)", said.message)
    if problem is not None and key:
        reason = problem.group(2).strip().rstrip(".")
        return f"{key}: {problem.group(1)!r} cannot be used as a {kind}: {reason}. {_known(problem.group(1), base)}"
    if base is object:
        return None
    name = said.find(r"Given value: ([\w.]+)$")
    if name is not None and "does not correspond to a subclass" in said.message:
        return f"{key}: {name!r} is not a {kind}. {_known(name, base)}"
    name = said.find(r"Expected a dot import path string: (\S+)") or said.find(
        r"Expected a path but (.+?) either not accessible"
    )
    if name is None:
        return None
    text = f"Unknown {kind} {name!r} ({key}). {_known(name, base)} "
    return text + (_import_problem(name) or "Give a class of your own by its dotted path, module.Class.")


def _import_problem(name: str) -> str | None:
    """The reason why a dotted path cannot be imported, which jsonargparse does not report."""
    if "." not in name:
        return None
    try:
        resolve_name(name)
    except Exception as error:  # a user's module may raise anything when it is imported
        return f"{name} cannot be imported: {type(error).__name__}: {error}."
    return None


def _missing_option(said: _Said) -> str | None:
    missing = said.find(r"the following arguments are required: (.+)")
    if missing is None or not said.key:
        return None
    found = re.search(r"Given value: Namespace\(class_path='([\w.]+)'", said.message)  # the first is the innermost
    owner = found.group(1).rsplit(".", 1)[-1] if found else said.kind
    given = " ".join(f"--{said.key}.{name} VALUE" for name in missing.split(", "))
    return f"{said.key}: {owner} needs {missing}. Give {given}, or the same in a --config."


def _wrong_value(said: _Said) -> str | None:
    given = said.find(r"Given value: (.+)") or said.find(r"Got value: (.+)")
    expected = re.findall(r"Expected (?:a |an )?(.+)", said.message)
    if not said.key or given is None or not expected:
        return None
    given = re.sub(r"NestedArg\(key='[^']*', val=(.+)\)", r"\1", given)
    if "is not accepted" in said.message:
        return None
    wanted = dict.fromkeys(_type_in_words(text.split(". Got value")[0]) for text in expected)
    wanted.pop("NoneType", None)
    # Of a number that may also be a tensor, the parser tries whether a word is a file or an import path.
    wanted = {text: None for text in wanted if not text.startswith(("path but ", "dot import path string"))} or wanted
    return f"{said.key}: expected {' or '.join(wanted) or 'another value'}, found {given}."


def _type_in_words(text: str) -> str:
    text = re.sub(r"<class '(?:[\w.]*\.)?(\w+)'>", r"\1", text)
    return re.sub(r"typing\.Literal\[(.+?)\]", lambda found: f"one of {found.group(1)}", text).replace("'", "")


def _no_options(said: _Said) -> str | None:
    content = re.search(r"^Unexpected config:(.*)", said.message, re.DOTALL)
    if content is None:
        return None
    found = content.group(1).strip()
    return (
        f"expected options, one `key: value` a line, found {found[:60]!r}."
        if found
        else "the file is empty; expected options, one `key: value` a line."
    )


def _unknown_option(said: _Said, options: list[str]) -> str | None:
    unrecognised = said.find(r"[Uu]nrecognized arguments: (.+)")
    if unrecognised is not None:
        word = unrecognised.split()[0].split("=")[0]
        if not word.startswith("-"):
            return f"Unexpected word {word!r}: options begin with --, and a file of options is given by --config FILE."
        return f"Unknown option {word}. {_near(word, options)} All options: lightning-vision fit --help."
    key = said.find(r"does not accept option '([\w.]+)'") or said.find(r"[Kk]ey '?\"?([\w.]+)\"?'? is not expected")
    group, section = (
        said.find(r"Group '([\w.]+)' does not accept"),
        said.find(r"Option '(\w+\.[\w.]+)' is not accepted"),
    )
    key = f"{group}.{key}" if group and key else key or section
    if key is not None:
        key = key.partition(".class_path")[0].partition(".init_args")[0]
        names = [option.lstrip("-") for option in options]
        return f"Unknown configuration key {key!r}. {_near(key, names)} All: lightning-vision fit --help."
    name = said.find(r"Option '([\w.]+)' is not accepted") or said.find(r"Group '([\w.]+)' does not accept")
    if name is None:
        return None
    if name == "class_path":
        return (
            "Beside class_path stands a key other than init_args: expected the options of a class below init_args, as in "
            "{class_path: SGD, init_args: {lr: 0.1}}."
        )
    bases = [said.base] if said.base is not object else [base for _, base in KINDS.values()]
    owners = {cls.__name__: _init_options(cls) for base in bases for cls in known_classes(base)}
    where = f" of {said.key}" if said.key else ""
    more = (
        f"Options of a class: lightning-vision fit --{said.key}.help CLASS."
        if said.key
        else "All: lightning-vision fit --help."
    )
    having = [owner for owner, names in owners.items() if name in names]
    if having:
        return f"{name!r} is not an option of the class chosen{where and f' for {said.key}'}; {', '.join(having)} {'has' if len(having) == 1 else 'have'} it. {more}"
    names_near = _near(
        name, ["class_path", "init_args", *sorted({option for names in owners.values() for option in names})]
    )
    return f"Unknown configuration key {name!r}{where}. {names_near} {more}"


def known_classes(base: type) -> Iterator[type]:
    """The imported classes of a kind that a user may choose."""
    subclasses: list[type] = base.__subclasses__()
    for cls in subclasses:
        own = issubclass(cls, Callback) and cls.__module__.startswith("lightning_vision.")
        internal = own and (cls is Recipe or not issubclass(cls, Recipe))
        offered = not internal and is_offered(f"{cls.__module__}.{cls.__name__}")
        if offered and not inspect.isabstract(cls) and not cls.__name__.startswith("_"):
            yield cls
        yield from known_classes(cls)


def _known(name: str, base: type) -> str:
    names = sorted({cls.__name__ for cls in known_classes(base)})
    short = name.rsplit(".", 1)[-1]
    return f"Known{', nearest first' if near(short, names) else ''}: {few(nearest_first(short, names), most=60)}."


def _near(word: str, known: Iterable[str]) -> str:
    names = near(word, known)
    return f"Similar names: {', '.join(names)}." if names else "No name is similar."


def _init_options(cls: type) -> list[str]:
    return [name for name in inspect.signature(cls).parameters if name not in ("self", "args", "kwargs")]


_said: set[str] = set()
_original: Any = typehints.discard_init_args_on_class_path_change
# All datamodules share the options of data, so data keeps them; in other classes equal names mean different things.
_DROPPED = (Strategy, Scenario, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler, Callback)


def _drop_init_args(parser_or_action: Any, before: Any, now: Any) -> None:
    """When a later config names another class, use the defaults of that class.

    jsonargparse silently keeps options of the former class that have the same name: ``experiences: 5`` of one scenario
    would apply to the next. A notice names the dropped options.
    """
    use_present_options(now)
    if before and "init_args" in before and before["class_path"] != now["class_path"]:
        found = resolve_name(now["class_path"])
        if isinstance(found, type) and issubclass(found, _DROPPED):
            options = dict(before["init_args"].items(branches=False)) if before["init_args"] else {}
            if options:
                old, new = (str(each["class_path"]).rsplit(".", 1)[-1] for each in (before, now))
                said = ", ".join(
                    f"{key}={value}" for key, value in options.items() if not _is_default(before, key, value)
                )
                notice = f"{old} is replaced by {new}: its options are dropped ({said})."
                if said and notice not in _said:  # the parser parses several times
                    _said.add(notice)
                    print_notice(notice)
            before.pop("init_args")
            return
    _original(parser_or_action, before, now)


def _is_default(spec: Any, key: str, value: Any) -> bool:
    """Whether this is the default value of an optimizer or scheduler: the parser fills in all defaults."""
    cls = resolve_name(spec["class_path"])
    if not (isinstance(cls, type) and issubclass(cls, (torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler))):
        return value is None
    parameter = inspect.signature(cls).parameters.get(key)
    return parameter is not None and parameter.default == value


def install() -> None:
    """Make jsonargparse drop a replaced class's options. This patches a private function; a test checks it."""
    _said.clear()
    forget()
    typehints.discard_init_args_on_class_path_change = _drop_init_args
