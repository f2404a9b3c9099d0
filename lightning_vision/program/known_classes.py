"""The classes that an untrusted configuration may name: of this package, installed plugins, torch and torchvision."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.cli import ReduceLROnPlateau

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.scenarios import Scenario
from lightning_vision.learning.strategy import Strategy
from lightning_vision.program.plugins import OWN, installed_plugins

KINDS: tuple[type, ...] = (
    Strategy,
    StreamDataModule,
    Scenario,
    Callback,
    torch.optim.Optimizer,
    torch.optim.lr_scheduler.LRScheduler,
)
"""The allowed base classes; nothing else is built from a configuration that the user did not name."""


@dataclass(frozen=True)
class Family:
    """Subclasses of one base class in one package."""

    package: str
    base: str

    @classmethod
    def of(cls, base: str) -> Family:
        """The classes of a base class's own package."""
        return cls(base.split(".")[0], base)

    def has(self, path: str) -> bool:
        """Whether a dotted path names one of them. Nothing outside the package is imported."""
        module, _, name = path.rpartition(".")
        if not f"{module}.".startswith(f"{self.package}."):
            return False
        home, _, base_name = self.base.rpartition(".")
        try:
            base, found = getattr(import_module(home), base_name), member_of(module, name)
        except ImportError:
            return False
        return (
            inspect.isclass(found) and issubclass(found, base) and f"{found.__module__}.".startswith(f"{self.package}.")
        )


FAMILIES_OF_TORCH: dict[type, Family] = {
    torch.optim.Optimizer: Family("torch.optim", "torch.optim.Optimizer"),
    torch.optim.lr_scheduler.LRScheduler: Family("torch.optim", "torch.optim.lr_scheduler.LRScheduler"),
}
TORCHVISION = Family("torchvision.transforms", "torch.nn.Module")


def registered(path: str, kind: type) -> type | None:
    """The registered class of a kind with a path or a short name; None if there is none."""
    module, _, name = path.rpartition(".")
    if not module:
        known = [cls for cls in _subclasses(kind) if cls.__name__ == name]
        return next((cls for cls in known if _is_known(cls, kind)), None)
    own = module.split(".")[0] in OWN
    found = (
        member_of(module, name) if own or (kind in FAMILIES_OF_TORCH and FAMILIES_OF_TORCH[kind].has(path)) else None
    )
    if found is None and module in sys.modules:  # of a plugin that is already imported, or Lightning's only scheduler
        found = getattr(sys.modules[module], name, None)
    return found if inspect.isclass(found) and _is_known(found, kind) else None


def _is_known(cls: type, kind: type) -> bool:
    if not issubclass(cls, kind):
        return False
    if cls is ReduceLROnPlateau or cls in installed_plugins():
        return True
    family = FAMILIES_OF_TORCH.get(kind)
    return cls.__module__.split(".")[0] in OWN or (
        family is not None and cls.__module__.startswith(f"{family.package}.")
    )


def _subclasses(cls: type) -> list[type]:
    below: list[type] = cls.__subclasses__()
    return [each for sub in below for each in (sub, *_subclasses(sub))]


def member_of(module: str, name: str) -> Any:
    """The object with a name in a module of an installed package; None if there is none."""
    if any(part.startswith("__") for part in module.split(".")):
        return None
    try:
        return getattr(import_module(module), name, None)
    except ImportError:
        return None
