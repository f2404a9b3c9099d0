"""Opening the directory of any run."""

from __future__ import annotations

from pathlib import Path

from lightning_vision.api.fit import fit
from lightning_vision.api.run import Run


def open_run(path: str | Path, trust_run: bool = False) -> Run:
    """Open the directory of any run, finished or not, wherever it was made. Nothing in it is executed.

    Args:
        path: The run directory.
        trust_run: Whoever made it is trusted: its config.yaml may name any class, which is code that is run, and its files may
            be links to elsewhere. Otherwise only registered classes are built from its configuration.

    Raises:
        CheckpointError: There is no run.
        ConfigError: Its files are links to elsewhere.
    """
    return Run(Path(path), trust_run=trust_run, fit=fit)
