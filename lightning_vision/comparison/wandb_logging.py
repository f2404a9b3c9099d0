"""Logs a comparison to W&B in addition to its cells: one run for the comparison, and one for each variant."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lightning_vision.comparison.folder import ComparisonFolder
from lightning_vision.comparison.plan import PlannedRun
from lightning_vision.report.page import ReportFiles
from lightning_vision.report.runs import GatheredRuns
from lightning_vision.report.tables import ranking_table
from lightning_vision.results.schema import Results
from lightning_vision.tracking.loggers import close_loggers, log_experience
from lightning_vision.tracking.stream_position import StreamPosition
from lightning_vision.tracking.wandb_logger import StreamWandbLogger, earlier_run_id, make_wandb_logger


def log_comparison(comparison: GatheredRuns, files: ReportFiles, folder: ComparisonFolder, cell: PlannedRun) -> None:
    """Log the ranking as a table, the charts as images and the report as an artifact: one run in the cells' group.

    Args:
        comparison: The comparison.
        files: The report.
        folder: The folder of the W&B run.
        cell: Any of the cells, for its W&B options.
    """
    name = folder.path.resolve().name
    logger = _start(folder.path, f"{name}: comparison", cell, "comparison", {"command": comparison.command})
    tables = {"comparison/ranking": ranking_table(comparison)}
    images = {f"comparison/{path.stem}": path for path in files.charts}
    artifacts = {"comparison/report": files.page}
    artifacts |= {f"comparison/{path.name}": path for path in files.tables}
    try:
        log_experience([logger], StreamPosition(), {}, images=images, tables=tables, artifacts=artifacts)
    finally:
        close_loggers([logger])


def log_variants(results: Results, cell: PlannedRun, directory: Path) -> None:
    """Log each variant of a cell, such as one epsilon of a sweep, as a separate run with the same keys as other runs."""
    for variant, found in results.variants.items():
        place = directory / "variants" / re.sub(r"[^\w.=+-]+", "-", variant)
        config = {**cell.config, "variant": variant, **({} if found.key is None else {found.key: found.value})}
        logger = _start(place, f"{cell.name}, {variant}", cell, cell.strategy, config)
        try:
            for t, accuracy in enumerate(found.test_accuracy):
                last = t == len(found.test_accuracy) - 1
                scalars = {"test/accuracy": accuracy, "val/accuracy": found.val_accuracy[t]}
                scalars |= {"test/macro_f1": found.test.macro_f1, "test/ece": found.test.ece} if last else {}
                log_experience([logger], StreamPosition(experience=t, step_offset=t), scalars)
        finally:
            close_loggers([logger])


def _start(place: Path, name: str, cell: PlannedRun, job_type: str, config: dict[str, Any]) -> StreamWandbLogger:
    """A W&B run in the group of the cells; an existing one is resumed."""
    wandb = cell.config["wandb"]
    return make_wandb_logger(
        place,
        name=name,
        group=wandb["group"],
        job_type=job_type,
        config=config,
        mode=wandb["mode"],
        project=wandb["project"],
        run_id=earlier_run_id(place),
    )
