"""From folders to groups of runs: which runs are ranked together, their labels, and remarks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from lightning_vision.class_path import strategy_name
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.report.class_order import in_class_order
from lightning_vision.report.find_runs import Found, FoundRun, find_runs
from lightning_vision.report.folds import CROSS_VALIDATION, fold_of
from lightning_vision.report.labels import Given, label_runs, other_differences, unique
from lightning_vision.report.predictions import key_of_test_set
from lightning_vision.report.ranking import best_first, rank
from lightning_vision.report.remarks import remarks_on, why_apart
from lightning_vision.report.runs import GatheredRuns, Group, Method, ReportRun
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.terminal.wording import in_lines, plural

Key = tuple[str, frozenset[str], str, int]
"""Runs are ranked together if these are equal: test images, classes, scenario, number of experiences."""


def gather(folders: Sequence[Path]) -> GatheredRuns:
    """Read all run directories below some folders, and group those that are ranked together.

    Args:
        folders: Run directories, comparisons' folders, or folders with several, at any depth.

    Raises:
        ConfigError: A folder does not exist, or there is no run directory in them.
        DataError: None of the run directories can be used.
    """
    found = find_runs(folders)
    if not found.runs:
        _refuse(found, folders)
    remarks = dict(found.remarks)
    by_key: dict[Key, list[FoundRun]] = {}
    for run, key in zip(found.runs, _keys(found.runs, remarks), strict=True):
        by_key.setdefault(key, []).append(run)
    largest_first = sorted(by_key.items(), key=lambda item: -len(item[1]))
    names = unique([_group_name(runs[0]) for _, runs in largest_first])
    groups = [_group(name, runs, remarks) for name, (_, runs) in zip(names, largest_first, strict=True)]
    if len(groups) > 1:
        apart = why_apart(groups, [key[0] for key, _ in largest_first])
        groups = [replace(group, remarks=[why, *group.remarks]) for group, why in zip(groups, apart, strict=True)]
    files = [comparison.file for comparison in found.comparisons]
    tunings = [comparison.tuning for comparison in found.comparisons if comparison.tuning is not None]
    title = files[0].name if len(files) == 1 else ", ".join(dict.fromkeys(folder.resolve().name for folder in folders))
    return GatheredRuns(title, files[0].command if len(files) == 1 else None, groups, found.left_out, tunings)


def _refuse(found: Found, folders: Sequence[Path]) -> None:
    where = ", ".join(map(str, folders))
    if not found.left_out:
        raise ConfigError(
            f"Expected run directories (folders with a results.json) in {where}, at any depth, and found none. Give the "
            "folder of a run, of a comparison, or one with several of them, such as runs."
        )
    reasons = in_lines(f"{left.path}: {left.reason}" for left in found.left_out)
    raise DataError(f"None of the {plural(len(found.left_out), 'run')} in {where} can be used:\n{reasons}")


def _keys(runs: Sequence[FoundRun], remarks: dict[Path, str]) -> list[Key]:
    """The test images from predictions.npz; where there is none, those of a run with the same split."""
    images: list[str | None] = []
    for run in runs:
        key = None
        if RunDirectory(run.path).predictions.is_file():
            try:
                key = key_of_test_set(_bare(run).read_predictions(), run.results.class_names)
            except DataError as error:
                _add(remarks, run.path, f"its predictions cannot be used: {error}")
        else:
            _add(
                remarks,
                run.path,
                "it has no predictions.npz: there are no intervals, no tests and no single images for it",
            )
        images.append(key)
    splits = {
        (run.results.run.split_hash, frozenset(run.results.class_names)): key
        for run, key in zip(runs, images, strict=True)
        if key is not None
    }
    keys = []
    for run, key in zip(runs, images, strict=True):
        classes, split = frozenset(run.results.class_names), run.results.run.split_hash
        test_set = key or splits.get((split, classes), f"split {split}")
        if (fold := fold_of(run.results)) is not None:
            test_set = f"folds {fold.data}"
        keys.append((test_set, classes, run.results.run.scenario, run.results.run.experiences))
    return keys


def _bare(found: FoundRun) -> ReportRun:
    """A run before it has a label, its classes in its own order."""
    results = found.results
    done, total = len(results.experiences), results.run.experiences
    unfinished = None if results.run.complete or found.is_base else f"{done} of {plural(total, 'experience')}"
    if unfinished and found.comparison is not None and found.cell is not None:
        failure = found.comparison.failures.get(found.cell.name)
        unfinished += f"; it failed: {' '.join(failure.error.split())}" if failure is not None else ""
    strategy = "Base" if found.is_base else strategy_name(results.run.strategy.class_path)
    fold, names = fold_of(results), results.class_names
    seed = results.run.seed if fold is None else fold.repeat(results.run.seed)
    # Folds repeat a method: they are no point of an axis, although a comparison lists them as one.
    settings = {} if found.cell is None or fold is not None else found.cell.settings
    point = json.dumps(settings, sort_keys=True) if settings else ""
    return ReportRun(
        found.path, results, found.config, strategy, strategy, seed, found.is_base, unfinished, names, point
    )


def _group_name(run: FoundRun) -> str:
    facts = run.results.run
    data = str(facts.data.get("class_path", "unknown data")).rsplit(".", 1)[-1]
    return f"{data}, {facts.scenario} with {plural(facts.experiences, 'experience')}"


def _group(name: str, found: Sequence[FoundRun], remarks: dict[Path, str]) -> Group:
    class_names = found[0].results.class_names
    runs = [replace(_bare(run), results=in_class_order(run.results, class_names)) for run in found]
    written = {run: source.written for run, source in zip(runs, found, strict=True)}
    given = [_given(source) for source in found]
    notes = [_reordered(runs, class_names)] if any(run.file_classes != class_names for run in runs) else []
    if fold_of(found[0].results) is not None:
        notes.append(CROSS_VALIDATION)
    methods, bases = [], []
    for is_base in (False, True):
        places = [place for place, run in enumerate(runs) if run.is_base == is_base]
        if not places:
            continue
        labels = label_runs([runs[place] for place in places], [given[place] for place in places])
        named: dict[str, list[ReportRun]] = {}
        for place, label in zip(places, labels, strict=True):
            run = replace(runs[place], method=label)
            written[run] = written[runs[place]]
            named.setdefault(label, []).append(run)
        for label, same in named.items():
            kept, dropped = _one_a_seed(same, written)
            notes += dropped
            if is_base:
                bases += kept
            else:
                methods.append(Method(label, kept[0].strategy, kept))
    methods = best_first(methods)
    kept_runs = [run for method in methods for run in method.runs]
    notes += [f"{run.path}: {remarks[run.path]}." for run in [*kept_runs, *bases] if run.path in remarks]
    differing = other_differences(kept_runs)
    notes = [*remarks_on(methods, bases), *([differing] if differing else []), *notes]
    return Group(name, class_names, methods, bases, rank(methods, bases), notes)


def _given(found: FoundRun) -> Given | None:
    """What its comparison calls its method; bases of all settings have one name there, their options tell them apart."""
    if found.comparison is None or found.cell is None or found.is_base:
        return None
    return Given(str(found.comparison.path), found.cell.method)


def _one_a_seed(runs: Iterable[ReportRun], written: dict[ReportRun, float]) -> tuple[list[ReportRun], list[str]]:
    """Of runs that are alike the newest complete one, and what is said of the others."""
    by_seed: dict[int, list[ReportRun]] = {}
    for run in runs:
        by_seed.setdefault(run.seed, []).append(run)
    kept, notes = [], []
    for seed, alike in sorted(by_seed.items()):
        best = max(alike, key=lambda run: (run.unfinished is None, written[run], str(run.path)))
        kept.append(best)
        if len(alike) > 1:
            others = ", ".join(str(run.path) for run in alike if run is not best)
            which = "the newest complete one" if best.unfinished is None else "the newest"
            notes.append(
                f"{best.method} was run more than once with seed {seed}: {best.path} is used ({which}), and not {others}."
            )
    return kept, notes


def _reordered(runs: Sequence[ReportRun], class_names: Sequence[str]) -> str:
    count = sum(run.file_classes != list(class_names) for run in runs)
    return f"{plural(count, 'run')} of {len(runs)} have another order of the classes, which are matched by name."


def _add(remarks: dict[Path, str], path: Path, text: str) -> None:
    remarks[path] = f"{remarks[path]}; {text}" if path in remarks else text
