"""How texts from elsewhere and numbers are written where a person reads them."""

import re
import unicodedata
from collections.abc import Iterable

INVISIBLE = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFFFE, 0xFFFF}
"""Characters that turn the direction of what follows, so that a name could pass for another, and two that are none."""


def printable(text: object) -> str:
    """A text that can be shown anywhere: what is no character, moves the cursor or turns the direction is spelt out.

    Names come from disks: one may hold bytes that are no UTF-8 (lone surrogates), line breaks, or a terminal's commands.
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


def spelt(text: str) -> str:
    r"""A name from a disk as it is kept, shown and written: bytes that are no UTF-8 are spelt out, byte E9 as ``\udce9``.

    Python holds such bytes as lone surrogates, which no UTF-8 file can. ``printable`` and the error handler
    ``backslashreplace`` spell them alike. The name that opens a file must stay as it was.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def figure(value: float) -> str:
    """A number as a person writes it: three or four digits."""
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.4g}"


SHOWN = 20
"""Problems that one error lists; the others are counted."""


def natural_key(text: str) -> tuple[list[str | int], str]:
    """A sort key that reads digits as numbers and ignores case: ``img2`` comes before ``IMG10``."""
    parts: list[str | int] = [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text.casefold())]
    return parts, text


def plural(count: int, noun: str) -> str:
    """The count with its noun: ``1 row``, ``2 rows``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def listed(items: Iterable[object], limit: int = SHOWN) -> str:
    """The first items in quotes, and how many more there are."""
    texts = [f"'{item}'" for item in items]
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more
