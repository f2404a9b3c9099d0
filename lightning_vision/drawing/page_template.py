"""What pages have in common: a template that escapes, and prints no text that could not be shown."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lightning_vision.terminal.wording import figure, printable


def page_environment() -> Environment:
    """Where the package's templates are; every text from elsewhere is escaped, and a name that is missing is an error."""
    environment = Environment(
        loader=PackageLoader("lightning_vision"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters["figure"] = figure
    return environment


def _shown(value: Any) -> Any:
    """Every text that a template prints; markup is our own."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
