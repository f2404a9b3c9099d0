"""lightning_vision: continual learning for images with PyTorch Lightning.

Names are imported when they are first used, so that the command line can answer ``--help`` without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_vision.batch import Batch as Batch
    from lightning_vision.classifier import ContinualClassifier as ContinualClassifier
    from lightning_vision.datamodule import StreamDataModule as StreamDataModule
    from lightning_vision.network import Network as Network
    from lightning_vision.recipe import Moment as Moment
    from lightning_vision.recipe import Recipe as Recipe
    from lightning_vision.recipe import Stage as Stage
    from lightning_vision.scenarios import ClassIncremental as ClassIncremental
    from lightning_vision.scenarios import DomainIncremental as DomainIncremental
    from lightning_vision.scenarios import Experience as Experience
    from lightning_vision.scenarios import FromColumn as FromColumn
    from lightning_vision.scenarios import InstanceIncremental as InstanceIncremental
    from lightning_vision.scenarios import Joint as Joint
    from lightning_vision.scenarios import Scenario as Scenario
    from lightning_vision.scenarios import Stream as Stream
    from lightning_vision.strategy import Strategy as Strategy

_HOMES = {
    "Batch": "batch",
    "ContinualClassifier": "classifier",
    "StreamDataModule": "datamodule",
    "Network": "network",
    "Moment": "recipe",
    "Recipe": "recipe",
    "Stage": "recipe",
    "ClassIncremental": "scenarios",
    "DomainIncremental": "scenarios",
    "Experience": "scenarios",
    "FromColumn": "scenarios",
    "InstanceIncremental": "scenarios",
    "Joint": "scenarios",
    "Scenario": "scenarios",
    "Stream": "scenarios",
    "Strategy": "strategy",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lightning_vision' has no attribute {name!r}; it has {', '.join(__all__)}.")
    return getattr(import_module(f"lightning_vision.{_HOMES[name]}"), name)
