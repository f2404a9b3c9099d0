"""Formats numbers, lists and foreign text for messages."""

import difflib
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

INVISIBLE = {0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF, 0xFFFE, 0xFFFF}
"""Characters that change the direction of text, so that a name could look like another, line ends, and noncharacters."""


def printable(text: object) -> str:
    """A text that can be shown anywhere: surrogates, control characters and changes of direction are escaped.

    Names come from disks: one may hold bytes that are not UTF-8 (lone surrogates), line breaks, or commands for terminals.
    """
    plain = str(text)
    if plain.isascii() and plain.isprintable():
        return plain
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in ("Cc", "Cs") or ord(character) in INVISIBLE
        else character
        for character in plain
    )


def printable_lines(text: str) -> str:
    """A text of several lines, each as ``printable`` shows it."""
    return "\n".join(printable(line) for line in text.split("\n"))


def spelt(text: str) -> str:
    r"""A name from a disk in the form in which it is stored and shown: bytes that are not UTF-8 are escaped, E9 as ``\udce9``.

    Python holds such bytes as lone surrogates, which a UTF-8 file cannot contain. ``printable`` and the error handler
    ``backslashreplace`` escape them in the same way. To open a file, use its original name.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def nfc(text: str) -> str:
    """The text in Unicode's composed form, in which names are compared.

    A disk may hold ``é`` as one character or as ``e`` with an accent, which look alike.
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def figure(value: float) -> str:
    """A number with three or four significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.4g}"


SHOWN = 20
"""Problems that one error lists; the others are counted."""


def natural_key(text: str) -> tuple[list[str | int], str]:
    """A sort key that reads digits as numbers and ignores case: ``img2`` comes before ``IMG10``."""
    parts: list[str | int] = [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text.casefold())]
    return parts, text


def printable_values(value: Any) -> Any:
    """The same value with every text in it as ``printable`` shows it, at any depth."""
    if isinstance(value, dict):
        return {printable_values(key): printable_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [printable_values(item) for item in value]
    return printable(value) if isinstance(value, str) else value


def plural(count: int, noun: str) -> str:
    """The count with its noun: ``1 row``, ``2 rows``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def few(texts: Iterable[str], most: int = 6, separator: str = ", ") -> str:
    """The first texts and the number of the others: ``a, b and 3 more``."""
    all_texts = list(texts)
    left = len(all_texts) - most
    return separator.join(all_texts[:most]) + (f" and {left} more" if left > 0 else "")


def listed(items: Iterable[object], most: int = SHOWN) -> str:
    """The first items in quotes and the number of the others: ``'a', 'b' and 3 more``."""
    return few((f"'{item}'" for item in items), most)


def in_lines(texts: Iterable[str], most: int = SHOWN, margin: str = "  ") -> str:
    """The first texts, each on an indented line, and the number of the others on a further line."""
    all_texts = list(texts)
    left = len(all_texts) - most
    return "\n".join(margin + text for text in [*all_texts[:most], *([f"... and {left} more"] if left > 0 else [])])


def near(name: str, known: Iterable[str], most: int = 4) -> list[str]:
    """The known names that are similar to a misspelt name, the most similar first; case is ignored."""
    spellings: dict[str, list[str]] = {}
    for each in dict.fromkeys(known):
        spellings.setdefault(each.casefold(), []).append(each)
    close = difflib.get_close_matches(name.casefold(), spellings, n=max(1, len(spellings)), cutoff=0.5)
    return [each for plain in close for each in spellings[plain]][:most]


def nearest_first(name: str, known: Iterable[str]) -> list[str]:
    """All known names: first those that are similar to a misspelt name, then the others in their order."""
    names = list(known)
    return list(dict.fromkeys([*near(name, names), *names]))
