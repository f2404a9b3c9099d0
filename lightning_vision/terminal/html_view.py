"""The output of the terminal as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO

from rich.console import Console

from lightning_vision.terminal.wording import spelt

PRE = "<pre style=\"white-space:pre;overflow-x:auto;line-height:normal;font-family:Menlo,'DejaVu Sans Mono',consolas,monospace\">{code}</pre>"


def html_view(draw: Callable[[Console], None], width: int = 110) -> str:
    """The output of a function as HTML, without printing it in the terminal. Text is escaped.

    Args:
        draw: The function; it prints to the given console.
        width: Characters of a line.
    """
    console = Console(record=True, file=StringIO(), width=width, force_jupyter=False, highlight=False)
    draw(console)
    return spelt(console.export_html(inline_styles=True, code_format=PRE))
