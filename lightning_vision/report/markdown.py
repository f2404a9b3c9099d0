"""Text in Markdown."""

from __future__ import annotations

import html
import re

from lightning_vision.terminal.wording import printable


def escaped(text: str) -> str:
    """A text that Markdown shows unchanged, on one line: no HTML, no table cell, no link, no emphasis, no formula."""
    plain = html.escape(printable(" ".join(text.split())), quote=False)
    return re.sub(r"([\\|`*\[\]~$]|(?<!\w)_|_(?!\w))", r"\\\1", plain)
