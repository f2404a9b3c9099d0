"""Equations as MathML, which browsers show by themselves: no script, no font, no other host."""

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert


def show_inline(translator: Any, node: Any) -> None:
    """An equation within a line."""
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def show_block(translator: Any, node: Any) -> None:
    """An equation on lines of its own, in a box that scrolls where it is too wide."""
    equation = convert(" ".join(node.astext().split()), display="block")
    translator.body.append(f'<div class="equation">{equation}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Register both, as Sphinx asks of an extension."""
    app.add_html_math_renderer("mathml", (show_inline, None), (show_block, None))
    return {"parallel_read_safe": True}
