"""Former names of options, on the command line and in configuration files."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from jsonargparse import Namespace

from lightning_vision.former_names import FORMER_OPTIONS, former_option, present_path, rename_options
from lightning_vision.program.options import OPTIONS
from lightning_vision.terminal.messages import print_notice

_RENAMED = {
    old: new
    for cls in OPTIONS.values()
    for old, new in FORMER_OPTIONS.get(f"{cls.__module__}.{cls.__qualname__}", {}).items()
}
"""Former names of the subcommands' own options."""
_said: set[str] = set()


def forget() -> None:
    """Allow all notices to be printed again, for the next command of this process."""
    _said.clear()


def with_present_words(words: list[str], known: Collection[str]) -> list[str]:
    """Replace former names of options in a command line by their present names.

    Args:
        words: ``--option=value`` or ``--option value``.
        known: The parser's options, with their dashes.
    """
    present = []
    for word in words:
        option, equals, value = word.partition("=")
        new = f"--{_RENAMED.get(option.removeprefix('--'), '')}"
        if option.startswith("--") and option not in known and new in known:
            _tell(former_option(option, new))
            word = f"{new}{equals}{value}"
        present.append(word)
    return present


def use_present_keys(config: Namespace, known: Collection[str]) -> None:
    """The same as ``with_present_words`` for a configuration file.

    Raises:
        ConfigError: An option is given by both names.
    """
    renamed = {old: new for old, new in _RENAMED.items() if f"--{new}" in known and f"--{old}" not in known}
    _rename(config, renamed, "--")


def use_present_options(component: Any) -> None:
    """Give the options of a configured class their present names.

    Args:
        component: ``class_path``, and ``init_args``: a namespace, or one option of the command line (``key`` and ``val``).

    Raises:
        ConfigError: An option is given by both names.
    """
    path, options = present_path(str(component["class_path"])), component.get("init_args")
    renamed, owner = FORMER_OPTIONS.get(path, {}), f"{path.rpartition('.')[2]}."
    if isinstance(options, Namespace):
        _rename(options, renamed, owner)
    elif getattr(options, "key", None) in renamed:  # jsonargparse's NestedArg
        new = renamed[options.key]
        _tell(former_option(f"{owner}{options.key}", f"{owner}{new}"))
        component["init_args"] = options._replace(key=new)


def _rename(options: Namespace, renamed: dict[str, str], owner: str) -> None:
    given = vars(options)
    if given.keys() & renamed.keys():
        changed = rename_options(dict(given), renamed, owner, _tell)
        given.clear()
        given.update(changed)


def _tell(notice: str) -> None:
    """Print a notice once; the parser parses several times."""
    if notice not in _said:
        _said.add(notice)
        print_notice(notice)
