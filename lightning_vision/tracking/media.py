"""Figures, tables and files of a run in W&B, TensorBoard and MLflow, by each logger's own calls."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from PIL import Image

from lightning_vision.errors import TrainingError, UserError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Media:
    """What is logged beside numbers.

    Args:
        images: Image files by key.
        tables: Tables by key.
        artifacts: Files by key ("confusion/matrix").
    """

    images: Mapping[str, Path] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    artifacts: Mapping[str, Path] = field(default_factory=dict)


def send_media(logger: Logger, media: Media, experience: int) -> dict[str, Any]:
    """Log figures, tables and files; a logger of another kind gets none.

    Args:
        logger: The logger.
        media: What is logged.
        experience: The number of the experience, which is the x axis.

    Returns:
        What W&B takes in a row, beside the numbers of that row.

    Raises:
        TrainingError: A server or a store of MLflow does not take them.
    """
    if isinstance(logger, WandbLogger):
        return _to_wandb(logger, media)
    if isinstance(logger, TensorBoardLogger):
        _to_tensorboard(logger, media, experience)
    if isinstance(logger, MLFlowLogger):
        try:
            _to_mlflow(logger, media, experience)
        except UserError:
            raise
        except Exception as error:  # its stores raise errors of their libraries
            raise TrainingError(
                f"MLflow cannot log the figures of experience {experience}: {' '.join(str(error).split())[:300]}. What was "
                "learned is saved. Make the store writable or reachable, and resume with --ckpt_path last."
            ) from error
    return {}


def _to_wandb(logger: WandbLogger, media: Media) -> dict[str, Any]:
    import wandb  # 0.7 s

    row: dict[str, Any] = {key: wandb.Image(str(path)) for key, path in media.images.items()}
    row |= {key: wandb.Table(dataframe=table) for key, table in media.tables.items()}
    for key, path in media.artifacts.items():
        run = logger.experiment
        # "confusion/matrix" of a run is its artifact <run>-confusion-matrix.
        artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", f"{run.name or run.id}-{key}"), type="result")
        artifact.add_file(str(path))
        run.log_artifact(artifact)
    return row


def _to_tensorboard(logger: TensorBoardLogger, media: Media, experience: int) -> None:
    """Images and tables; TensorBoard keeps no files."""
    writer = logger.experiment
    for key, path in media.images.items():
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        writer.add_image(key, pixels, experience, dataformats="HWC")
    for key, table in media.tables.items():
        writer.add_text(key, _markdown(table), experience)
    writer.flush()


def _to_mlflow(logger: MLFlowLogger, media: Media, experience: int) -> None:
    """Artifacts in a folder of each key, with the number of the experience."""
    client, run, place = logger.experiment, logger.run_id, f"experience={experience:04d}"
    for key, path in {**media.images, **media.artifacts}.items():
        client.log_artifact(run, str(path), f"{key}/{place}")
    for key, table in media.tables.items():
        client.log_table(run, table, f"{key}/{place}.json")


def _markdown(table: pd.DataFrame) -> str:
    """A table in Markdown; names of classes stay text."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy(dtype=object).tolist()]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if text == "---" else re.sub(r"([\\|`*_\[\]<>])", r"\\\1", text)
