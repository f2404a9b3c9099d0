"""Templates of pages, which escape text and replace characters that cannot be displayed."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lightning_vision.terminal.wording import figure, printable


def page_environment() -> Environment:
    """The environment of the package's templates: text is escaped, and an undefined name is an error."""
    environment = Environment(
        loader=PackageLoader("lightning_vision.drawing"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters["figure"] = figure
    return environment


def _shown(value: Any) -> Any:
    """The displayed form of a text; markup is not changed."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
