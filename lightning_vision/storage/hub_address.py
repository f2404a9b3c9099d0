"""Addresses of repositories on the Hugging Face Hub: ``hf://owner/name``, with ``@revision`` for a commit, branch or tag."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lightning_vision.errors import ConfigError
from lightning_vision.terminal.wording import printable

SCHEME = "hf://"
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_NAME = re.compile(rf"({_PART}/{_PART})(?:@([A-Za-z0-9._/-]+))?")
_LONGEST = 96


@dataclass(frozen=True)
class HubAddress:
    """A repository, and a version of it.

    Args:
        name: ``owner/name``.
        revision: A commit, branch or tag; None: the newest commit of the main branch.
    """

    name: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{SCHEME}{self.name}{'' if self.revision is None else f'@{self.revision}'}"


def is_hub_address(text: object) -> bool:
    """Whether a text is meant as an address on the Hub, well-formed or not."""
    return isinstance(text, str) and text.startswith(SCHEME)


def read_address(text: str) -> HubAddress:
    """The repository that a text names, with or without ``hf://``.

    Raises:
        ConfigError: It is malformed.
    """
    found = _NAME.fullmatch(text.removeprefix(SCHEME))
    name = "" if found is None else found[1]
    if found is None or len(name) > _LONGEST or "--" in name or ".." in text or name.endswith(".git"):
        raise ConfigError(
            f"Expected the name of a repository on the Hugging Face Hub, owner/name (to open a run also hf://owner/name@revision): "
            f"letters, digits, '-', '_' and '.', at most {_LONGEST}, without '--' and '..'; found {printable(text)!r}."
        )
    return HubAddress(name, found[2])
