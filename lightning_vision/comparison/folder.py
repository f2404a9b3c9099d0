"""A comparison's folder: its plan, its finished and its failed cells."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from lightning_vision.comparison.executors.executor import Done, Job
from lightning_vision.comparison.plan import BASES, TRIALS, Plan, PlannedRun
from lightning_vision.errors import CheckpointError, ConfigError, TrainingError
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.same_options import check_same_options
from lightning_vision.results.schema import Results, read_results
from lightning_vision.storage.atomic_write import write_text_atomically
from lightning_vision.storage.writer_lock import only_writer, wait_for_writers
from lightning_vision.terminal.wording import in_lines, plural

State = Literal["done", "begun", "new"]
SCHEMA = 1
WAY_OUT = "or give another --output"


@dataclass(frozen=True)
class ComparisonFolder:
    """The paths below ``--output``, and their contents."""

    path: Path

    @property
    def failures(self) -> Path:
        """The failed cells, with exit code and error; the file does not exist if none failed."""
        return self.path / "failed.json"

    @property
    def report(self) -> Path:
        """The page, its figures and tables."""
        return self.path / "report"

    def directory(self, run: PlannedRun) -> RunDirectory:
        """A run's directory."""
        return RunDirectory(self.path / run.directory)

    def config(self, run: PlannedRun) -> Path:
        """The configuration of a run."""
        return self.path / "cells" / f"{run.name}.yaml"

    def results(self, run: PlannedRun) -> Results | None:
        """The results of a run so far; None if nothing is finished, or the file is damaged."""
        try:
            return read_results(self.directory(run).results)
        except CheckpointError:
            return None

    def state(self, run: PlannedRun) -> State:
        """Whether a run is done; a base is done if its checkpoint exists."""
        directory = self.directory(run)
        if not directory.path.exists():
            return "new"
        results = self.results(run)
        if results is None:
            return "begun"
        base = run.kind == BASES and directory.finished(0).is_file()
        trial = run.kind == TRIALS and len(results.experiences) == run.config["tune_on"]
        return "done" if results.run.complete or base or trial else "begun"

    def check(self, plan: Plan) -> list[str]:
        """Refuse to resume runs that were started with other options; the error names all of them.

        Returns:
            A message about options whose default has changed since.

        Raises:
            ConfigError: Some were.
        """
        problems = []
        remarks: dict[str, list[str]] = {}
        for run in [*plan.bases, *plan.cells]:
            directory = self.directory(run)
            if directory.config.is_file():
                try:
                    for kept in check_same_options(directory.read_config(), run.config, directory.path):
                        remarks.setdefault(str(kept), []).append(run.name)
                except CheckpointError as error:
                    problems.append(str(error).split("\nUse the same options")[0])
        if problems:
            raise ConfigError(
                f"{in_lines(problems, most=5, margin='')}\nA comparison must be resumed with the same options. Give another --output, or "
                f"delete the runs to repeat below {self.path}."
            )
        return [
            f"{plural(len(names), 'run')} ({names[0]}{', ...' if len(names) > 1 else ''}) of an earlier version keep {kept}. "
            "Runs that have not started use the present default: give the option to make all alike."
            for kept, names in remarks.items()
        ]

    def write(self, plan: Plan, common: Mapping[str, Any], section: Mapping[str, Any], command: str) -> None:
        """Write the plan; the cells of an earlier call with other strategies or seeds stay part of it.

        Raises:
            TrainingError: The folder cannot be written.
        """
        self.write_configs([*plan.bases, *plan.cells])
        known = self.read("comparison.json")
        record: dict[str, Any] = {"schema": SCHEMA, "name": self.path.resolve().name, "command": command}
        for key, runs in (("cells", plan.cells), ("bases", plan.bases)):
            rows = {row["name"]: row for row in known.get(key, [])} | {run.name: _row(run) for run in runs}
            record[key] = list(rows.values())
        write_text_atomically(self.path / "comparison.json", json.dumps(record, indent=1) + "\n")
        again = {**common, "compare": {**section, "output": str(self.path)}}
        write_text_atomically(self.path / "comparison.yaml", yaml.safe_dump(again, sort_keys=False, allow_unicode=True))

    def write_configs(self, runs: Iterable[PlannedRun]) -> None:
        """Write the configurations of runs.

        Raises:
            TrainingError: The folder cannot be written.
        """
        try:
            (self.path / "cells").mkdir(parents=True, exist_ok=True)
            (self.path / "logs").mkdir(exist_ok=True)
        except OSError as error:
            raise TrainingError(
                f"{self.path} cannot be written: {error.strerror or error}. Give another --output."
            ) from error
        for run in runs:
            write_text_atomically(self.config(run), run.dumped)

    def read(self, name: str) -> dict[str, Any]:
        """The content of a JSON file that an earlier call wrote; empty if there is none.

        Raises:
            ConfigError: It cannot be read.
        """
        path = self.path / name
        if not path.is_file():
            return {}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read ({error}). Delete it: the next call writes it again.") from error
        return content if isinstance(content, dict) else {}

    def earlier_cells(self, plan: Plan) -> list[str]:
        """Names of cells of earlier calls that are not in this plan; they stay in the report."""
        now = {cell.name for cell in plan.cells}
        return [row["name"] for row in self.read("comparison.json").get("cells", []) if row["name"] not in now]

    def job(self, run: PlannedRun) -> Job:
        """The command line of ``fit`` that runs or resumes it, once its base is done."""
        resume = ("--ckpt_path", "last") if self.directory(run).path.exists() else ()
        words = ("fit", "--config", str(self.config(run).resolve()), *resume)
        return Job(run.name, words, (self.path / "logs" / f"{run.name}.log").resolve(), after=run.base)

    def note_failures(self, failed: Mapping[str, Done], succeeded: set[str]) -> None:
        """Write the failed cells, without those that have succeeded since."""
        try:
            before: dict[str, Any] = json.loads(self.failures.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # none yet, or truncated: failed cells are run again anyway
            before = {}
        now = {name: row for name, row in before.items() if name not in succeeded}
        now |= {name: {"exit_code": done.exit_code, "error": done.error} for name, done in failed.items()}
        if now:
            write_text_atomically(self.failures, json.dumps(now, indent=1) + "\n")
        else:
            self.failures.unlink(missing_ok=True)

    def held(self, command: str) -> AbstractContextManager[None]:
        """Keep a second ``compare`` out of the folder.

        Args:
            command: The command line of this one.

        Raises:
            ConfigError: Another one is using the folder.
        """
        return only_writer(self.path, command, way_out=WAY_OUT)

    def wait_for_writers(self, runs: Iterable[PlannedRun]) -> None:
        """Wait for runs of an earlier call that has ended, until they end too.

        Raises:
            ConfigError: A run is still being written.
        """
        wait_for_writers([self.directory(run).path for run in runs], way_out=WAY_OUT)


def _row(run: PlannedRun) -> dict[str, Any]:
    row = {"name": run.name, "seed": run.seed, "settings": run.settings, "directory": run.directory}
    return row if run.kind == BASES else {**row, "method": run.method, "strategy": run.strategy, "base": run.base}
