"""Options that are chosen before a comparison: by trials on the validation images of the first experiences alone.

A strategy may not be tuned on experiences that it has not seen: the values would be chosen for a future that nobody knows
(Chaudhry et al., Efficient Lifelong Learning with A-GEM, ICLR 2019, arXiv 1812.00420, choose on the first tasks). Each seed has a
stream of its own, whose later classes are among the first of another seed's, so options are chosen for each seed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from lightning_vision.comparison.executors.executor import Done
from lightning_vision.comparison.folder import WAY_OUT, ComparisonFolder
from lightning_vision.comparison.options import CompareOptions, Settings
from lightning_vision.comparison.plan import Plan, PlannedRun
from lightning_vision.errors import ConfigError, TrainingError
from lightning_vision.report.tuning import TUNING
from lightning_vision.results.schema import Results
from lightning_vision.storage.atomic_write import write_text_atomically

SCHEMA = 1


def candidates(options: CompareOptions) -> list[Settings]:
    """The combinations of the values to try, in the order of the options; the first one wins ties."""
    return [
        {key: value for choice in step for key, value in choice.settings.items()}
        for step in product(*options.tune.values())
    ]


def with_picks(options: CompareOptions, trials: Plan, folder: ComparisonFolder) -> CompareOptions:
    """The options with what the finished trials choose; of a cell without any, the first candidate.

    Args:
        options: The options of the comparison.
        trials: The trials of all cells.
        folder: Where they were run.
    """
    picked = {}
    for cell, runs in _by_cell(trials).items():
        best = _best(runs, folder)
        picked[cell] = (runs[0] if best is None else best).tried
    return replace(options, picked=picked)


def write_tuning(
    options: CompareOptions, trials: Plan, folder: ComparisonFolder, failed: Mapping[str, Done]
) -> dict[str, str]:
    """Write tuning.json: the trials, their cost, and what was chosen; the cells of earlier calls stay part of it.

    Returns:
        A sentence on the choice for each cell.

    Raises:
        TrainingError: No trial of a cell could be run.
    """
    cells, said = earlier_cells(options, trials, folder), {}
    tuned = dict.fromkeys([key for cell in cells for key in cell["picked"]] + list(options.tune))
    for cell, runs in _by_cell(trials).items():
        best, first = _best(runs, folder), runs[0]
        if best is None:
            errors = "; ".join(dict.fromkeys(failed[run.name].error for run in runs if run.name in failed))
            raise TrainingError(
                f"Tuning: no trial of {first.method}, seed {first.seed}, could be evaluated ({errors or 'no validation accuracy'}). "
                f"Its output is in {folder.job(first).log}. The same command tries again."
            )
        tried = [_row(run, folder, failed) for run in runs]
        cells.append({"method": first.method, "seed": first.seed, "cell": cell, "picked": best.tried, "tried": tried})
        chosen = ", ".join(f"{key}={value}" for key, value in best.tried.items())
        accuracy = _accuracy(folder.results(best)) or 0.0
        said[cell] = f"{first.method}, seed {first.seed}: {chosen} ({100 * accuracy:.1f} % on validation images)"
    record = {"schema": SCHEMA, "tune_on": options.tune_on, "options": list(tuned), "cells": cells}
    write_text_atomically(folder.path / TUNING, json.dumps(record, indent=1) + "\n")
    return said


def earlier_cells(options: CompareOptions, trials: Plan, folder: ComparisonFolder) -> list[dict[str, Any]]:
    """What tuning.json holds of cells of earlier calls, with other strategies, settings or seeds, which stay in the report.

    Raises:
        ConfigError: They were tuned on another number of experiences.
    """
    known, now = folder.read(TUNING), _by_cell(trials)
    cells = [cell for cell in known.get("cells", []) if cell["cell"] not in now]
    if cells and known["tune_on"] != options.tune_on:
        first = cells[0]
        raise ConfigError(
            f"--tune_on {options.tune_on}: {first['method']}, seed {first['seed']}, was tuned on the first {known['tune_on']} experiences in "
            f"{folder.path}, and the strategies of a comparison are tuned on the same. Give --tune_on {known['tune_on']}, {WAY_OUT}."
        )
    return cells


def _by_cell(trials: Plan) -> dict[str, list[PlannedRun]]:
    found: dict[str, list[PlannedRun]] = {}
    for run in trials.cells:
        found.setdefault(run.cell, []).append(run)
    return found


def _best(runs: Sequence[PlannedRun], folder: ComparisonFolder) -> PlannedRun | None:
    """The trial with the highest accuracy, ties to the first; None if none is finished."""
    known = [(accuracy, run) for run in runs if folder.state(run) == "done" and (accuracy := _accuracy(folder.results(run))) is not None]  # fmt: skip
    return max(known, key=lambda pair: pair[0])[1] if known else None


def _accuracy(results: Results | None) -> float | None:
    """Mean accuracy on the validation images of the first experiences, after the last of these."""
    return None if results is None else results.average_accuracy


def _row(run: PlannedRun, folder: ComparisonFolder, failed: Mapping[str, Done]) -> dict[str, Any]:
    """A trial with its cost."""
    results = folder.results(run) if folder.state(run) == "done" else None
    row: dict[str, Any] = {"settings": run.tried, "run": run.directory, "accuracy": _accuracy(results)}
    if results is None:
        return row | {"error": failed[run.name].error if run.name in failed else "it did not end"}
    steps = [record.steps for record in results.experiences if record.steps is not None]
    totals = results.totals
    return row | {
        "steps": sum(steps),
        "seconds": totals.seconds,
        "energy_kwh": None if results.without_energy else totals.energy_kwh,
        "co2eq_kg": None if results.without_energy else totals.co2eq_kg,
        "images": totals.backbone_images,
    }
