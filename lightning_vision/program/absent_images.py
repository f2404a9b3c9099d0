"""Builds the data of a run that is from elsewhere without its images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from lightning_vision.data.absent_data import without_images
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.learning.checkpoint_file import load_file
from lightning_vision.learning.checkpoints import find_checkpoint
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.schema import Results, read_results
from lightning_vision.terminal.messages import muted


def run_of(path: str | Path) -> RunDirectory:
    """The directory of a run, of a path to it or to a checkpoint in it."""
    place = Path(path)
    return RunDirectory(place if place.is_dir() else place.parent.parent)


def use_no_images(parser: ArgumentParser, data: Namespace, directory: RunDirectory) -> None:
    """Let a parser build a datamodule without its images; see ``without_images``.

    Args:
        parser: The parser of a subcommand.
        data: Its section ``data``, which is changed.
        directory: The run, whose results name the classes and the experiences.

    Raises:
        CheckpointError: The results cannot be read.
    """
    results: Results = read_results(directory.results)
    for name in ("stream", "test_data"):  # objects of their own, which would be built first
        if name in data.init_args:
            data.init_args[name] = None
    experiences = [(record.name, record.classes) for record in results.experiences]
    identity = load_file(find_checkpoint(directory.path), lazily=True)["lightning_vision"]
    # Whether experience 0 was a base decides who predicts after it, and the checkpoint knows; later it decides nothing.
    has_base = bool(identity["is_base"]) if identity["experience"] == 0 else True

    def build(kind: type[StreamDataModule], **options: Any) -> StreamDataModule:
        with muted():  # what it would tell of the rows that stand for images
            return without_images(kind, options, results.class_names, experiences, has_base)

    parser.add_instantiator(build, StreamDataModule, subclasses=True)
