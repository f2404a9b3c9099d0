"""Checks that results.json is consistent: lists of matching lengths, and figures within their ranges."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from lightning_vision.errors import DataError
from lightning_vision.results.schema import Base, Evaluation, ExperienceRecord, Results, Scores, Totals
from lightning_vision.storage.sparse_counts import SparseCounts

MOST_IMAGES = 2**53


def check_results(results: Results) -> None:
    """Refuse results that have the right types but are inconsistent.

    Raises:
        DataError: The first contradictions that were found.
    """
    problems = [problem for _, problem in zip(range(3), _problems(results), strict=False)]
    if problems:
        raise DataError(f"its figures contradict each other: {'; '.join(problems)}.")


def _problems(results: Results) -> Iterator[str]:
    names, run = results.class_names, results.run
    done, total = len(results.experiences), run.experiences
    if not names or len(set(names)) < len(names):
        yield f"{len(names)} class names, of which {len(set(names))} differ"
        return
    if not 1 <= done <= total:
        yield f"{done} finished experiences of {total}"
        return
    if run.complete and done < total:
        yield f"it is marked as complete after {done} of {total} experiences"
    if [record.index for record in results.experiences] != list(range(done)):
        yield "its experiences are not numbered from 0 on"
    yield from _matrix("accuracy_matrix", results.accuracy_matrix, done, total)
    if results.task is not None:
        yield from _matrix("task.accuracy_matrix", results.task.accuracy_matrix, done, total)
        yield from _shares("task.accuracy", results.task.accuracy, done)
    if results.anytime_accuracy is not None:
        yield from _shares("anytime_accuracy", results.anytime_accuracy, len(results.anytime_accuracy))
        yield from _shares("average_anytime_accuracy", [results.average_anytime_accuracy], 1)
    if results.probe is not None:
        yield from _matrix("probe.accuracy_matrix", results.probe.accuracy_matrix, done, total)
        yield from _shares("probe.accuracy", results.probe.accuracy, done)
    for field in ("test_accuracy", "seen_accuracy"):
        yield from _shares(field, getattr(results, field), done)
    for field in ("initial_accuracy", "average_accuracy", "average_incremental_accuracy"):
        yield from _shares(field, [getattr(results, field)], 1)
    yield from _scores("test", results.test, names)
    yield from _scores("first_test", results.first_test, names)
    for name, variant in results.variants.items():
        yield from _matrix(f"accuracy_matrix of {name[:40]}", variant.accuracy_matrix, done, total)
        yield from _shares(f"test_accuracy of {name[:40]}", variant.test_accuracy, done)
        yield from _shares(f"val_accuracy of {name[:40]}", variant.val_accuracy, done)
        yield from _scores(name[:40], variant.test, names)
        if not all(math.isfinite(value) for facts in variant.extra.values() for value in facts.values()):
            yield f"further figures of {name[:40]} that are not finite"
    picked = results.picked_variant
    if picked is not None and (len(picked) != done or not set(picked) <= {None, *results.variants}):
        yield "picked_variant names other variants than there are"
    for record in results.experiences:
        if not all(0 <= label < len(names) for label in record.classes):
            yield f"experience {record.index} has classes beyond the {len(names)}"
    yield from _costs(results)


def _costs(results: Results) -> Iterator[str]:
    """Seconds, energy and counts are finite and not negative."""
    parts: list[Base | Evaluation | ExperienceRecord | Totals] = [results.base, results.totals]
    parts += [part for record in results.experiences for part in (record, record.evaluation)]
    costs = [value for part in parts for value in (part.seconds, part.energy_kwh, part.co2eq_kg)]
    counts = [results.network.total_parameters, results.network.macs]
    counts += [n for r in results.experiences for n in (r.epochs, r.train_samples, r.trainable_parameters)]
    counts += [results.memory_bytes, *(record.steps for record in results.experiences)]
    if results.budget is not None:
        costs += [results.budget.limit, results.budget.spent]
    if results.probe is not None:
        costs += results.probe.seconds
    if results.features is not None:
        costs += [results.features.seconds, results.features.saved_seconds]
        counts += [results.features.computed, results.features.reused]
    if not _between(costs, 0.0, math.inf) or not _between(counts, 0, MOST_IMAGES):
        yield "a time, an energy or a count that is negative or not finite"


def _matrix(field: str, matrix: Sequence[Sequence[float | None]], rows: int, columns: int) -> Iterator[str]:
    if len(matrix) != rows or any(len(row) != columns for row in matrix):
        yield f"{field} is not {rows} x {columns}"
    elif not all(_between(row, 0.0, 1.0) for row in matrix):
        yield f"{field} leaves the range from 0 to 1"


def _shares(field: str, values: Sequence[float | None], length: int) -> Iterator[str]:
    if len(values) != length:
        yield f"{field} has {len(values)} values for {length}"
    elif not _between(values, 0.0, 1.0):
        yield f"{field} leaves the range from 0 to 1"


def _scores(field: str, scores: Scores, names: Sequence[str]) -> Iterator[str]:
    matrix = scores.confusion_matrix
    held = isinstance(matrix, SparseCounts)  # square, and its rows need not be made
    if len(matrix) != len(names) or (not held and any(len(row) != len(names) for row in matrix)):
        yield f"the confusion matrix of {field} is not {len(names)} x {len(names)}"
    elif not all(_between(row, 0, MOST_IMAGES) for row in _counts_of(matrix)):
        yield f"the confusion matrix of {field} counts less than nothing, or too much"
    if scores.per_class.keys() != set(names):
        yield f"{field} scores other classes than class_names has"
    elif [scores.per_class[name]["support"] for name in names] != _supports_of(matrix):
        yield f"the support of the classes in {field} is not that of its confusion matrix"
    values = [value for row in scores.per_class.values() for value in (row["precision"], row["recall"], row["f1"])]
    if not _between([scores.accuracy, scores.macro_f1, scores.ece, *values], 0.0, 1.0):
        yield f"a score of {field} leaves the range from 0 to 1"


def _counts_of(matrix: list[list[int]] | SparseCounts) -> list[list[int]]:
    return [matrix.counts.tolist()] if isinstance(matrix, SparseCounts) else matrix


def _supports_of(matrix: list[list[int]] | SparseCounts) -> list[int]:
    supports: list[int] = matrix.support.tolist() if isinstance(matrix, SparseCounts) else [sum(row) for row in matrix]
    return supports


def _between(values: Iterable[float | None], low: float, high: float) -> bool:
    """Whether all that is known lies from low to high, and is finite; NaN is no JSON and has been refused before."""
    known = [value for value in values if value is not None]
    return not known or (low <= min(known) and max(known) <= high and max(known) < math.inf)
