"""lightning_vision: continual learning for images with PyTorch Lightning.

Names are imported at their first use, so that the command line can answer ``--help`` without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lightning_vision import errors as errors
from lightning_vision import former_names

if TYPE_CHECKING:
    from lightning_vision.api.compare import compare as compare
    from lightning_vision.api.comparison import Comparison as Comparison
    from lightning_vision.api.comparison import open_comparison as open_comparison
    from lightning_vision.api.fit import fit as fit
    from lightning_vision.api.open_run import open_run as open_run
    from lightning_vision.api.run import Run as Run
    from lightning_vision.api.run_config import RunConfig as RunConfig
    from lightning_vision.comparison.reporting import report as report
    from lightning_vision.data.batch import Batch as Batch
    from lightning_vision.data.datamodule import StreamDataModule as StreamDataModule
    from lightning_vision.data.scenarios import ClassIncremental as ClassIncremental
    from lightning_vision.data.scenarios import DomainIncremental as DomainIncremental
    from lightning_vision.data.scenarios import FromColumn as FromColumn
    from lightning_vision.data.scenarios import InstanceIncremental as InstanceIncremental
    from lightning_vision.data.scenarios import Joint as Joint
    from lightning_vision.data.scenarios import Scenario as Scenario
    from lightning_vision.data.stream import Experience as Experience
    from lightning_vision.data.stream import Stream as Stream
    from lightning_vision.data_report.description import DataDescription as DataDescription
    from lightning_vision.data_report.description import describe_data as describe_data
    from lightning_vision.errors import CheckpointError as CheckpointError
    from lightning_vision.errors import ConfigError as ConfigError
    from lightning_vision.errors import DataError as DataError
    from lightning_vision.errors import TrainingError as TrainingError
    from lightning_vision.errors import UserError as UserError
    from lightning_vision.learning.classifier import ContinualClassifier as ContinualClassifier
    from lightning_vision.learning.network import Network as Network
    from lightning_vision.learning.recipe import Moment as Moment
    from lightning_vision.learning.recipe import Recipe as Recipe
    from lightning_vision.learning.stage import Stage as Stage
    from lightning_vision.learning.strategy import Strategy as Strategy

_HOMES = {
    "Comparison": "api.comparison",
    "DataDescription": "data_report.description",
    "Run": "api.run",
    "RunConfig": "api.run_config",
    "compare": "api.compare",
    "fit": "api.fit",
    "describe_data": "data_report.description",
    "open_comparison": "api.comparison",
    "open_run": "api.open_run",
    "report": "comparison.reporting",
    **dict.fromkeys(("CheckpointError", "ConfigError", "DataError", "TrainingError", "UserError"), "errors"),
    "Batch": "data.batch",
    "ContinualClassifier": "learning.classifier",
    "StreamDataModule": "data.datamodule",
    "Network": "learning.network",
    "Moment": "learning.recipe",
    "Recipe": "learning.recipe",
    "Stage": "learning.stage",
    "ClassIncremental": "data.scenarios",
    "DomainIncremental": "data.scenarios",
    "Experience": "data.stream",
    "FromColumn": "data.scenarios",
    "InstanceIncremental": "data.scenarios",
    "Joint": "data.scenarios",
    "Scenario": "data.scenarios",
    "Stream": "data.stream",
    "Strategy": "learning.strategy",
}
__all__ = sorted(_HOMES)

former_names.install()


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lightning_vision' has no attribute {name!r}; it has {', '.join(__all__)}.")
    return getattr(import_module(f"lightning_vision.{_HOMES[name]}"), name)
