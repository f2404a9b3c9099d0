"""Finds and reads run directories, and the comparisons that they belong to."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, JsonValue, TypeAdapter, ValidationError

from lightning_vision.errors import ConfigError, UserError
from lightning_vision.report.runs import LeftOut
from lightning_vision.report.soundness import check_results
from lightning_vision.report.tuning import TUNING, TuningFile
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.schema import Results, read_results
from lightning_vision.storage.links_out import leads_out
from lightning_vision.storage.options_file import read_options_file

COMPARISON, FAILED = "comparison.json", "failed.json"
_NO_RUNS_IN = ("checkpoints", "wandb", "logs", "report", "__pycache__")


class Cell(BaseModel):
    """A run of a comparison."""

    name: str
    method: str = "Base"
    strategy: str = "Base"
    seed: int
    settings: dict[str, JsonValue] = {}
    base: str | None = None
    directory: str


class ComparisonFile(BaseModel):
    """comparison.json: what a comparison consists of."""

    schema_version: Literal[1] = Field(alias="schema")
    name: str
    command: str
    cells: list[Cell]
    bases: list[Cell] = []


class Failure(BaseModel):
    """Why a cell of a comparison failed."""

    exit_code: int
    error: str


@dataclass(frozen=True)
class FoundComparison:
    """A comparison's folder."""

    path: Path
    file: ComparisonFile
    failures: dict[str, Failure]
    tuning: TuningFile | None = None


@dataclass(frozen=True, eq=False)
class FoundRun:
    """A run directory whose results can be used."""

    path: Path
    results: Results
    config: dict[str, Any]
    written: float
    """When results.json was written, in seconds since the epoch."""
    comparison: FoundComparison | None = None
    cell: Cell | None = None
    is_base: bool = False


@dataclass
class Found:
    """What lies below some folders."""

    runs: list[FoundRun] = field(default_factory=list)
    comparisons: list[FoundComparison] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    remarks: dict[Path, str] = field(default_factory=dict)
    """What a reader must know of a run that is used."""


def find_runs(folders: Sequence[Path]) -> Found:
    """Find and read the run directories below some folders.

    Args:
        folders: Run directories, or folders with run directories at any depth.

    Raises:
        ConfigError: One of the folders is none.
    """
    found, started, seen = Found(), [], set()
    for folder in folders:
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            raise ConfigError(f"{folder} {what}: expected the folder of a run or of a comparison, or one with several.")
        for path, names, files in os.walk(folder, onerror=lambda error: _unreadable(found, error)):
            names[:] = sorted(name for name in names if name not in _NO_RUNS_IN and not name.startswith("."))
            here = Path(path)
            if here.resolve() in seen:
                continue
            seen.add(here.resolve())
            if COMPARISON in files:
                _take_comparison(found, here)
            if "results.json" in files:
                _take_run(found, here)
            elif "config.yaml" in files:
                started.append(here)
    _say_what_is_missing(found, started)
    _name_cells(found)
    return found


def _take_run(found: Found, path: Path) -> None:
    directory = RunDirectory(path)
    try:
        if not directory.results.is_file():
            raise ConfigError(f"{directory.results} is no file.")
        for file in (directory.results, directory.config, directory.predictions, directory.metrics):
            if leads_out(file, path):
                raise ConfigError(f"{file} is a symbolic link out of the run directory")
        results = read_results(directory.results)
        check_results(results)
        written = directory.results.stat().st_mtime
    except (UserError, OSError, RecursionError) as error:
        found.left_out.append(LeftOut(path, _reason(error)))
        return
    if results.run.tune_on is not None:
        if not (path.parent.parent / TUNING).is_file():  # those of a comparison are in its table
            found.left_out.append(LeftOut(path, "a trial with tune_on, which was not evaluated on test images"))
        return
    config: dict[str, Any] = {}
    try:
        config = read_options_file(directory.config)
    except FileNotFoundError:
        found.remarks[path] = "it has no config.yaml: only the options of the learning strategy are known"
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        found.remarks[path] = f"its config.yaml cannot be read ({_reason(error)}): only the options of the learning strategy are known"  # fmt: skip
    found.runs.append(FoundRun(path, results, config, written, is_base=_stops_after_base(config, results)))


def _stops_after_base(config: dict[str, Any], results: Results) -> bool:
    done = len(results.experiences)
    return config.get("stop_after") == 0 and done == 1 and not results.run.complete


def _take_comparison(found: Found, path: Path) -> None:
    try:
        file = ComparisonFile.model_validate(_read_json(path / COMPARISON))
        failures: dict[str, Failure] = {}
        if (path / FAILED).is_file():
            failures = TypeAdapter(dict[str, Failure]).validate_python(_read_json(path / FAILED))
    except (OSError, ValueError, RecursionError) as error:
        found.left_out.append(LeftOut(path / COMPARISON, f"runs are labelled by their options: {_reason(error)}"))
        return
    tuning = None
    try:
        tuning = TuningFile.model_validate(_read_json(path / TUNING)) if (path / TUNING).is_file() else None
    except (OSError, ValueError, RecursionError) as error:
        found.left_out.append(LeftOut(path / TUNING, f"what was tuned, and its cost, are not shown: {_reason(error)}"))
    found.comparisons.append(FoundComparison(path, file, failures, tuning))


def _read_json(path: Path) -> Any:
    content = json.loads(path.read_text(encoding="utf-8"))
    version = content.get("schema", 1) if isinstance(content, dict) else 1
    if isinstance(version, int) and version > 1:
        raise ValueError(
            f"{path.name} has schema {version}, a newer lightning_vision wrote it: update lightning_vision"
        )
    return content


def _name_cells(found: Found) -> None:
    """Tell each run which cell of which comparison it is."""
    cells: dict[Path, tuple[FoundComparison, Cell, bool]] = {}
    for comparison in found.comparisons:
        for is_base, entries in ((False, comparison.file.cells), (True, comparison.file.bases)):
            for cell in entries:
                cells[(comparison.path / cell.directory).resolve()] = (comparison, cell, is_base)
    for number, run in enumerate(found.runs):
        if (named := cells.get(run.path.resolve())) is not None:
            comparison, cell, is_base = named
            found.runs[number] = FoundRun(run.path, run.results, run.config, run.written, comparison, cell, is_base)


def _say_what_is_missing(found: Found, started: Sequence[Path]) -> None:
    """Runs that have not finished an experience, and cells that have not begun."""
    run_paths = [run.path.resolve() for run in found.runs]
    reasons = {
        path.resolve(): "it has a config.yaml but no results.json: no experience is finished yet" for path in started
    }
    shown = {path.resolve(): path for path in started}
    for comparison in found.comparisons:
        for cell in [*comparison.file.bases, *comparison.file.cells]:
            path = (comparison.path / cell.directory).resolve()
            used = path in run_paths or any(path == left.path.resolve() for left in found.left_out)
            if used:
                continue
            shown[path] = comparison.path / cell.directory
            failure = comparison.failures.get(cell.name)
            if failure is not None:
                reasons[path] = f"it failed with exit code {failure.exit_code}: {failure.error}"
            else:
                reasons.setdefault(path, "the comparison has not run it yet")
    for path, reason in reasons.items():
        # A folder that holds runs may have a config.yaml of its own.
        if not any(path in other.parents for other in run_paths):
            found.left_out.append(LeftOut(shown[path], reason))


def _unreadable(found: Found, error: OSError) -> None:
    found.left_out.append(LeftOut(Path(str(error.filename)), f"the folder cannot be read: {error.strerror or error}"))


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(str(error).split())
