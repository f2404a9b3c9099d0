"""The request for a run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_vision.class_path import class_path
from lightning_vision.errors import ConfigError
from lightning_vision.learning.budget import Budget
from lightning_vision.results.resume_options import binding
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.unwritten import is_marked
from lightning_vision.tracking.country import check_country
from lightning_vision.tracking.options import EnergyOptions, WandbOptions


@dataclass(frozen=True)
class RunRequest:
    """The request for a run, from the command line or from Python.

    Args:
        name: The run's name.
        root: The run directory is ``root / name``.
        config: The whole configuration of ``fit`` in plain values (``model``, ``data``, ``trainer``, ...): it is
            recorded, compared when the run resumes, and sent to W&B.
        config_text: The contents of config.yaml: they repeat the run, without options that resume or delete one.
        seed: The seed of all random numbers.
        resume: Continue the run of that name; if nothing of it is saved, start it.
        overwrite: Delete a run of that name first.
        keep_checkpoints: Checkpoints of finished experiences to keep: ``last`` (the base and the last), ``all``, or a number n
            (the base and the last n).
        stop_after: The number of the experience after which the run stops; None: the last.
        budget: What all increments together may spend: ``steps=N`` or ``kwh=X``.
        tune_on: Learn this many first experiences alone, and evaluate on their validation images in place of test images.
        probe: Fit a linear probe on the backbone's features after each experience.
        trust_run: The files of a resumed run directory may be links to other places.
        energy: Options of the energy measurement.
        wandb: Options of the W&B run.
        progress: A live line in a terminal, otherwise a line for each epoch.
        command: The command line, shown to another process that needs the run directory at the same time.
    """

    name: str
    root: Path
    config: dict[str, Any]
    config_text: str
    seed: int = 0
    resume: bool = False
    overwrite: bool = False
    keep_checkpoints: str | int = "last"
    stop_after: int | None = None
    budget: str | None = None
    tune_on: int | None = None
    probe: bool = False
    trust_run: bool = False
    energy: EnergyOptions = field(default_factory=EnergyOptions)
    wandb: WandbOptions = field(default_factory=WandbOptions)
    progress: bool = True
    command: str = ""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: A value cannot be used.
        """
        check_run_options(self.energy.country, self.keep_checkpoints, self.stop_after, self.budget, self.tune_on)

    @property
    def directory(self) -> RunDirectory:
        """The run directory."""
        return RunDirectory(self.root / self.name)

    @property
    def base_checkpoint(self) -> str | None:
        """The file or run directory from which the run starts, if there is one."""
        return self.config["model"].get("base_checkpoint") or None

    @property
    def config_hash(self) -> str:
        """SHA-256 of the options that determine the result."""
        return hashlib.sha256(json.dumps(binding(self.config), sort_keys=True, default=str).encode()).hexdigest()

    def component(self, key: str, thing: object) -> dict[str, Any]:
        """The class and the options of a configured part of the model.

        Args:
            key: ``strategy`` or ``base_strategy``.
            thing: The part itself, used if none is configured.
        """
        config = self.config["model"].get(key)
        if isinstance(config, dict):
            path = class_path(thing) if is_marked(config["class_path"]) else config["class_path"]
            return {"class_path": path, "init_args": config.get("init_args", {})}
        return {"class_path": class_path(thing), "init_args": {}}


def check_run_options(
    country: str,
    keep_checkpoints: str | int,
    stop_after: int | None,
    budget: str | None = None,
    tune_on: int | None = None,
) -> None:
    """Check values of options.

    Raises:
        ConfigError: A value cannot be used.
    """
    check_country(country)
    if isinstance(keep_checkpoints, int) and keep_checkpoints < 1:
        raise ConfigError(f"keep_checkpoints: expected last, all or a number from 1 on, found {keep_checkpoints}.")
    if stop_after is not None and stop_after < 0:
        raise ConfigError(f"stop_after: expected the number of an experience, from 0 on, found {stop_after}.")
    if budget is not None:
        Budget.read(budget)
    if tune_on is not None and tune_on < 1:
        raise ConfigError(f"tune_on: expected a number of experiences, from 1 on, found {tune_on}.")
    if tune_on is not None and stop_after is not None:
        raise ConfigError("tune_on learns the first experiences alone: remove stop_after.")
