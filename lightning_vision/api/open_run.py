"""Opens the directory of a run."""

from __future__ import annotations

from pathlib import Path

from lightning_vision.api.fit import fit
from lightning_vision.api.run import Run


def open_run(path: str | Path, trust_run: bool = False) -> Run:
    """Open the directory of any run, finished or not, from any source. Nothing in it is executed.

    Args:
        path: The run directory.
        trust_run: Trust the source of the run: its config.yaml may name any class, whose code is then run, and its files may
            be links to other places. Otherwise only registered classes are built from its configuration.

    Raises:
        CheckpointError: There is no run.
        ConfigError: Its files are links to other places.
    """
    return Run(Path(path), trust_run=trust_run, fit=fit)
