"""Docstrings and signatures as they are meant, in place of what Sphinx makes of them.

Docstrings are read in the terminal first. Their ``|x|`` and ``f_`` are text, and a page of docs/ is named by its path.
"""

import inspect
import re
from typing import Any

MARKUP = re.compile(r"(``.+?``|:\w+:`[^`]+`)")
BEFORE_NAPOLEON = 400


def plain(line: str) -> str:
    """A line whose characters mean themselves, except in code and equations, and whose pages are links."""
    parts = MARKUP.split(line)
    for number in range(0, len(parts), 2):
        text = re.sub(r"(?<=\w)_(?!\w)", r"\\_", parts[number].replace("|", r"\|"))
        parts[number] = re.sub(r"docs/(\w+)\.md", r":doc:`/\1`", text)
    return "".join(parts)


def make_plain(app: Any, kind: str, name: str, documented: Any, options: Any, lines: list[str]) -> None:
    """Change a docstring's lines where they are."""
    equation = False
    for number, line in enumerate(lines):
        equation = line.lstrip().startswith(".. math::") or (equation and line.startswith(" "))
        if not equation:
            lines[number] = plain(line)


def signature_of_init(app: Any, kind: str, name: str, documented: Any, *rest: Any) -> tuple[str, None] | None:
    """The arguments of a class whose ``__new__`` takes any: those that its ``__init__`` names."""
    if kind != "class" or not inspect.isfunction(documented.__new__):
        return None
    signature = inspect.signature(documented.__init__)
    arguments = [item.replace(annotation=inspect.Parameter.empty) for item in signature.parameters.values()]
    return str(signature.replace(parameters=arguments[1:], return_annotation=inspect.Signature.empty)), None


def setup(app: Any) -> dict[str, bool]:
    """Register both, as Sphinx asks of an extension."""
    app.connect("autodoc-process-docstring", make_plain, priority=BEFORE_NAPOLEON)
    app.connect("autodoc-process-signature", signature_of_init)
    return {"parallel_read_safe": True}
