"""One run's folder: its name, its files, and what of it may be written over."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_vision.errors import CheckpointError, ConfigError, TrainingError
from lightning_vision.storage.options_file import read_options_file
from lightning_vision.storage.writer_lock import LOCK, only_writer

WAY_OUT = "or give this run another place by --run_name or --trainer.default_root_dir"
"""What may be done where a run's folder cannot be had."""
LONGEST_NAME = 255
"""Bytes of a folder's name on the file systems of Linux and macOS."""


@dataclass(frozen=True)
class RunDirectory:
    """The paths of one run, ``<default_root_dir>/<run name>/``."""

    path: Path

    @property
    def config(self) -> Path:
        """The whole configuration, to run again as it stands."""
        return self.path / "config.yaml"

    @property
    def results(self) -> Path:
        """results.json: what was found, rewritten after each experience."""
        return self.path / "results.json"

    @property
    def predictions(self) -> Path:
        """The prediction for each test image after each experience."""
        return self.path / "predictions.npz"

    @property
    def metrics(self) -> Path:
        """The training curves."""
        return self.path / "metrics.csv"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    def exists(self) -> bool:
        """Whether it is there and holds a run."""
        return self.config.is_file() or self.results.is_file()

    def read_config(self, tell: Callable[[str], object] = lambda _: None) -> dict[str, Any]:
        """The options that the run was started with.

        Args:
            tell: See ``read_options_file``.

        Raises:
            CheckpointError: The file cannot be read.
        """
        try:
            return read_options_file(self.config, tell)
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise CheckpointError(
                f"{self.config} cannot be read: {' '.join(str(error).split())}. Restore it, or start another run by --run_name."
            ) from error

    def finished(self, experience: int) -> Path:
        """The checkpoint at the end of an experience."""
        return self.checkpoints / f"experience={experience:04d}.ckpt"

    def within(self, experience: int, stage: int, what: str) -> Path:
        """A checkpoint within an experience: ``last`` to resume from, ``best`` to go back to."""
        return self.checkpoints / f"experience={experience:04d}-stage={stage}-{what}.ckpt"

    def all_finished(self) -> list[Path]:
        """The checkpoints of finished experiences, in the stream's order."""
        return sorted(p for p in self.checkpoints.glob("experience=*.ckpt") if re.fullmatch(r"experience=\d+", p.stem))

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Refuse a folder that must not be written into; nothing is changed.

        Raises:
            ConfigError: It is not empty, and neither resuming nor deleting was requested, or it holds no run.
        """
        if resume and overwrite:
            raise ConfigError("--ckpt_path last resumes a run and --overwrite deletes it: give one of the two.")
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"{self.path} is a file, a folder for the run was expected. Choose another --run_name.")
        if resume or not self._holds_something():
            return
        if not overwrite:
            raise ConfigError(
                f"The run directory {self.path} exists already. Resume it with --ckpt_path last, give this run "
                "another name by --run_name NAME, or delete what is there by --overwrite."
            )
        if not self.exists():
            raise ConfigError(
                f"--overwrite: {self.path} is not empty and holds no run (neither config.yaml nor results.json), "
                "so nothing was deleted. Choose another --run_name or --trainer.default_root_dir."
            )

    def prepare(self, *, resume: bool, overwrite: bool) -> None:
        """Make the folder; a former run in it is deleted if that was asked for.

        Raises:
            ConfigError: See ``check``.
            TrainingError: It cannot be written.
        """
        self.check(resume=resume, overwrite=overwrite)
        try:
            if overwrite and self._holds_something():
                self._clear()
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            probe = self.path / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise TrainingError(
                f"The run directory {self.path} cannot be written: {error.strerror or error}. "
                "Choose another place by --trainer.default_root_dir."
            ) from error

    def held(self, command: str) -> AbstractContextManager[None]:
        """Keep everybody else from writing into the folder.

        Args:
            command: See ``only_writer``.
        """
        return only_writer(self.path, command, way_out=WAY_OUT)

    def _holds_something(self) -> bool:
        return self.path.is_dir() and any(path.name != LOCK for path in self.path.iterdir())

    def _clear(self) -> None:
        """Delete all that is there but the lock, which keeps others out meanwhile."""
        for path in self.path.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()

    def last_within(self, experience: int) -> tuple[int, Path] | None:
        """The stage at which an interrupted experience resumes, and its checkpoint."""
        found = [
            (int(path.stem.split("stage=")[1].split("-")[0]), path)
            for path in self.checkpoints.glob(f"experience={experience:04d}-stage=*-last.ckpt")
        ]
        return max(found, default=None)

    def drop_within(self, experience: int) -> None:
        """Delete an experience's inner checkpoints once it is finished."""
        for path in self.checkpoints.glob(f"experience={experience:04d}-stage=*.ckpt"):
            path.unlink(missing_ok=True)

    def prune(self, keep: str | int) -> None:
        """Delete finished checkpoints but the base, and the last, the last n, or all."""
        if keep == "all":
            return
        paths = self.all_finished()
        n = 1 if keep == "last" else int(keep)
        for path in paths[1 : max(1, len(paths) - n)]:
            path.unlink(missing_ok=True)


def safe_name(text: str) -> str:
    """A run name as a folder name.

    Raises:
        ConfigError: Nothing usable is left of it, or it is longer than the name of a folder can be.
    """
    name = re.sub(r"[^\w.=+-]+", "-", text).strip("-.")
    if not name:
        raise ConfigError(f"--run_name: expected letters, digits, '.', '_' or '-', found {text!r}.")
    if (length := len(os.fsencode(name))) > LONGEST_NAME:
        raise ConfigError(f"--run_name: expected at most {LONGEST_NAME} bytes, found {length}: {name[:40]}...")
    return name
