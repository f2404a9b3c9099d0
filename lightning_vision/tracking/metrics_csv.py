"""metrics.csv: every logged scalar, in rows that survive a kill."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from lightning_vision.storage.csv_log import RowFile
from lightning_vision.tracking.stream_position import EXPERIENCE_KEY


class MetricsCSV(Logger):
    """Write metrics.csv: a row for each step of each experience, immediately, so that a kill -9 loses none.

    Unlike Lightning's CSVLogger it continues an existing file and deletes none.

    Args:
        run_directory: Folder of metrics.csv; it is created if necessary.
    """

    def __init__(self, run_directory: Path) -> None:
        super().__init__()
        self._directory = Path(run_directory)
        self._rows = RowFile(self._directory / "metrics.csv")

    @property
    @override
    def name(self) -> str:
        """Name of the run directory."""
        return self._directory.name

    @property
    @override
    def version(self) -> str:
        """Empty, because a run directory contains one run."""
        return ""

    @property
    @override
    def save_dir(self) -> str:
        """The run directory."""
        return str(self._directory)

    @override
    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Write nothing, because they are in config.yaml."""

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Write a row, or add to the last row if it has the same step and experience.

        Raises:
            TrainingError: The file cannot be written.
        """
        row = {"step": step, **{name: _scalar(value) for name, value in metrics.items()}}
        last = self._rows.last
        same_experience = last.get(EXPERIENCE_KEY, "") == str(row.get(EXPERIENCE_KEY, ""))
        if last and last.get("step") == str(step) and same_experience:
            self._rows.update_last(row)
        else:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._rows.append(row)

    @rank_zero_only
    def resume_at(self, step: int) -> None:
        """Drop the rows after the stream step of the checkpoint from which the run resumes."""
        self._rows.keep(lambda row: int(row.get("step", 0)) <= step)


def _scalar(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
