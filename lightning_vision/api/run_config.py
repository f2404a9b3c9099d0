"""The configuration of a run: the YAML that repeats it, and the parts that it cannot hold."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.unwritten import config_text, unwritten


@dataclass(frozen=True)
class RunConfig:
    """The options of a run in the form of ``fit --config``. ``str()`` is the YAML.

    Args:
        values: The options in plain values, as in config.yaml: ``seed_everything``, ``trainer``, ``model``, ``data``, ...
    """

    values: dict[str, Any]

    @classmethod
    def read(cls, run: Path) -> RunConfig:
        """The configuration of a run directory.

        Raises:
            CheckpointError: Its config.yaml cannot be read.
        """
        return cls(RunDirectory(run).read_config())

    @property
    def not_written(self) -> dict[str, str]:
        """The parts that the YAML cannot hold: the reason by option (``model.optimizer``). Empty if it holds all."""
        return unwritten(self.values)

    def __getitem__(self, key: str) -> Any:
        """An option by its dotted key, such as ``model.backbone`` or ``data.init_args.image_size``."""
        value: Any = self.values
        for name in key.split("."):
            value = value[name]
        return value

    def __str__(self) -> str:
        """The YAML; comments at the top name the parts that it cannot hold."""
        return config_text(self.values)

    def _repr_html_(self) -> str:
        """The view in a notebook."""
        return f"<pre>{html.escape(str(self))}</pre>"
