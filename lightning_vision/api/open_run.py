"""Opens the directory of a run."""

from __future__ import annotations

from pathlib import Path

from lightning_vision.api.fit import fit
from lightning_vision.api.run import Run
from lightning_vision.learning.hub_run import with_local_run


def open_run(path: str | Path, trust_run: bool = False, data_root: str | Path | None = None) -> Run:
    """Open the directory of any run, finished or not, from any source. Nothing in it is executed.

    A run on the Hugging Face Hub is downloaded once for each commit, and its files are compared with the hashes that were
    pushed with them. It predicts without the images of its data; ``test``, ``explain`` and ``export`` need them.

    Args:
        path: The run directory, or the address of a pushed run: ``hf://owner/name``, or ``hf://owner/name@revision``.
        trust_run: Trust the source of the run: its config.yaml may name any class, whose code is then run, and its files may
            be links to other places. Otherwise only registered classes are built from its configuration.
        data_root: The folder of the run's data, in place of ``data.root`` in its configuration.

    Raises:
        CheckpointError: There is no run, the Hub cannot be reached, or the files of a pushed run were altered.
        ConfigError: Its files are links to other places, or the address is malformed.
    """
    local = with_local_run(path)
    return Run(local, trust_run=trust_run, fit=fit, data_root=None if data_root is None else Path(data_root))
