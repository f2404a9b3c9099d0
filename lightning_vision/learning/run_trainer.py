"""The Trainer of a stream run."""

from __future__ import annotations

import functools
from typing import Any

from lightning.fabric.utilities import registry
from lightning.pytorch import Trainer

# Each new Trainer asks for callbacks of other packages, for which files of all installed packages are read. They stay the same in
# a process, and a run builds two Trainers for each experience.
_find: Any = getattr(registry, "entry_points", None)
if _find is not None and not hasattr(_find, "cache_info"):
    registry.entry_points = functools.cache(_find)  # type: ignore[attr-defined,assignment] # imported by the module


class RunTrainer(Trainer):
    """A Trainer of a stream run, in which the run chooses what the classifier learns.

    With any other Trainer the classifier learns the datamodule's current experience.
    """
