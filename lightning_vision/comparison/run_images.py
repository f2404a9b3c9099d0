"""Test images of runs for a report, read from the data of a run if it has not changed."""

from __future__ import annotations

import contextlib
import io
from typing import Any, cast

from jsonargparse import ArgumentParser, Namespace

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.drawing.thumbnail import jpeg_thumbnail
from lightning_vision.errors import UserError
from lightning_vision.program.foreign_config import take_foreign_data
from lightning_vision.report.runs import ReportRun
from lightning_vision.results.run_directory import RunDirectory

SIDE = 96
"""Longest side of a thumbnail, in pixels."""
OF_PREPARATION = ("train_transforms", "eval_transforms", "batch_transforms", "test_data")
"""Options of a datamodule that thumbnails do not need."""


class ImagesOfRuns:
    """Gives the JPEG of a test image by run and row; None if the data is missing, has changed, or is of an unknown class."""

    def __init__(self) -> None:
        self._data: dict[str, StreamDataModule | None] = {}

    def __call__(self, run: ReportRun, row: int) -> bytes | None:
        """A JPEG of at most ``SIDE`` pixels of a row of the run's sample table."""
        data = self._data_of(run)
        if data is None or not 0 <= row < len(data.samples):
            return None
        try:
            return jpeg_thumbnail(data.image(row), SIDE)[0]
        except UserError:  # deleted since: the report omits it
            return None

    def _data_of(self, run: ReportRun) -> StreamDataModule | None:
        key = run.results.run.split_hash
        if key not in self._data:
            self._data[key] = _open(run)
        return self._data[key]


def _open(run: ReportRun) -> StreamDataModule | None:
    asked = run.config.get("data")
    if not isinstance(asked, dict) or not isinstance(options := asked.get("init_args") or {}, dict):
        return None
    kept: dict[str, Any] = {key: value for key, value in options.items() if key not in OF_PREPARATION}
    try:
        taken = take_foreign_data({**asked, "init_args": kept}, RunDirectory(run.path).config)
    except UserError:  # the page omits the images of such data
        return None
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(StreamDataModule, "data")
    said = io.StringIO()  # the run has printed the remarks about the data
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            parsed = parser.parse_object({"data": taken})
            data = cast(StreamDataModule, cast(Namespace, parser.instantiate_classes(parsed)).data)
            if data.class_names != run.results.class_names:
                data.use_class_names(run.results.class_names)
    except Exception:  # on any problem the report omits its images, and says that there are none
        return None
    return data if data.split_hash == run.results.run.split_hash else None
