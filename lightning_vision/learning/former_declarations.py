"""Renamed class attributes of plugins."""

from __future__ import annotations

import warnings

FORMER_DECLARATIONS = {"needs_pictures": "needs_images"}
"""Class attributes of strategies and recipes, by their name before 0.2."""


def honour_former_declarations(plugin: type) -> None:
    """Copy what a plugin's class declares under a former name to the present name.

    ``__init_subclass__`` calls it, so that the warning points at the class statement.

    Args:
        plugin: A class that was just defined.

    Warns:
        DeprecationWarning: It uses a former name.
    """
    for former, present in FORMER_DECLARATIONS.items():
        if former in vars(plugin):
            warnings.warn(
                f"{plugin.__module__}.{plugin.__qualname__} declares {former}, which is now called {present}: rename it. "
                "The former name works until 0.3.",
                DeprecationWarning,
                stacklevel=3,
            )
            if present not in vars(plugin):
                setattr(plugin, present, vars(plugin)[former])
