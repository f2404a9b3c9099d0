"""What run directories say together: the numbers, the tables, the charts and the page.

The Python API has a function of this room's name: called, the room is that function, whichever of the two a program
imported first.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Any:
        """See ``lightning_vision.comparison.reporting.report``."""
        return import_module("lightning_vision.comparison.reporting").report(*args, **options)


sys.modules[__name__].__class__ = _Room
