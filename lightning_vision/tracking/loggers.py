"""Loggers of a run over a stream: metrics.csv, and Weights & Biases without account or network."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

if TYPE_CHECKING:
    import pandas as pd
from lightning_vision.tracking.metrics_csv import MetricsCSV
from lightning_vision.tracking.stream_position import StreamPosition, follow_stream


def is_rank_zero() -> bool:
    """Whether this process writes shared files."""
    return getattr(rank_zero_only, "rank", 0) == 0


@rank_zero_only
def log_experience(
    loggers: Iterable[Logger],
    position: StreamPosition,
    scalars: Mapping[str, float | None],
    images: Mapping[str, Path] | None = None,
    tables: Mapping[str, "pd.DataFrame"] | None = None,
    artifacts: Mapping[str, Path] | None = None,
) -> None:
    """Log the figures of a finished experience as one row at the last step.

    Args:
        loggers: The run's loggers, which then follow `position`.
        position: The experience that ended.
        scalars: Values by key; None is omitted.
        images: Image files by key; like the following, for W&B only.
        tables: Tables by key.
        artifacts: Files by key, logged as artifacts of the run ("confusion/matrix": `<run>-confusion-matrix`).
    """
    known = {key: value for key, value in scalars.items() if value is not None}
    for logger in loggers:
        follow_stream(logger, position)
        media: dict[str, Any] = {}
        if isinstance(logger, WandbLogger):
            import wandb

            media |= {key: wandb.Image(str(path)) for key, path in (images or {}).items()}
            media |= {key: wandb.Table(dataframe=table) for key, table in (tables or {}).items()}
            for key, path in (artifacts or {}).items():
                run = logger.experiment
                artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", f"{run.name or run.id}-{key}"), type="result")
                artifact.add_file(str(path))
                run.log_artifact(artifact)
        logger.log_metrics(known | media)


def resume_loggers(loggers: Iterable[Logger], step: int) -> None:
    """Drop the rows of metrics.csv beyond the step that a run resumes from: they are logged again."""
    for logger in loggers:
        if isinstance(logger, MetricsCSV):
            logger.resume_at(step)


def close_loggers(loggers: Iterable[Logger]) -> None:
    """End the W&B runs among the loggers, so that all data is on disk and the next run of the process is separate."""
    for logger in loggers:
        if isinstance(logger, WandbLogger) and is_rank_zero():
            logger.experiment.finish()
