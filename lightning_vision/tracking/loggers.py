"""Loggers of a run over a stream: metrics.csv, W&B without account or network, and those of Lightning."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

if TYPE_CHECKING:
    import pandas as pd
from lightning_vision.tracking.media import Media, send_media
from lightning_vision.tracking.metrics_csv import MetricsCSV
from lightning_vision.tracking.mlflow_store import check_store
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
        images: Image files by key; like the following, for the loggers of W&B, TensorBoard and MLflow.
        tables: Tables by key.
        artifacts: Files by key, logged as artifacts of the run ("confusion/matrix": `<run>-confusion-matrix`).
    """
    known = {key: value for key, value in scalars.items() if value is not None}
    media = Media(images or {}, tables or {}, artifacts or {})
    for logger in loggers:
        follow_stream(logger, position)
        sent = send_media(logger, media, position.experience)
        logger.log_metrics(known | sent)


def check_loggers(loggers: Iterable[Logger]) -> None:
    """Check that loggers can write, before anything is trained.

    Raises:
        ConfigError: The store of an MLflow logger cannot be written or reached.
    """
    for logger in loggers:
        if isinstance(logger, MLFlowLogger) and is_rank_zero():
            check_store(logger)


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
        elif isinstance(logger, TensorBoardLogger) and is_rank_zero():
            logger.experiment.flush()
