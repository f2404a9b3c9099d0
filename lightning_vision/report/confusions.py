"""Confusion matrices for the page's viewer: as few characters as hold the counts, and what can be chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lightning_vision.report.runs import Group, ReportRun
from lightning_vision.storage.sparse_counts import SparseCounts
from lightning_vision.terminal.wording import plural

MOST_CLASSES = 1000
"""With more classes, the viewer has those with the most errors, and all others as one predicted class."""
MOST_CONFUSED = 300
"""Classes that are then shown."""
MOST_NUMBERS = 2_000_000
"""Of all matrices of a group together, some 5 MB; with more, the runs of a method are added up."""


def confusion_data(group: Group) -> dict[str, Any]:
    """What the viewer reads.

    Args:
        group: Runs whose classes have one order.

    Returns:
        ``classes``: C names. ``runs``: of each run the confusion matrix after the last finished experience, see ``sparse``.
        ``options``: what can be chosen, best method first: a ``label``, and the ``runs`` to add up. ``summed``: whether the
        seeds of a method are only there together. ``cut``: which classes are shown, in words; empty if all are.
    """
    chosen = [(method.label, method.runs) for method in group.methods]
    if group.bases:
        chosen.append(("the base", group.bases))
    classes, counts_of, cut = _shown([run for _, runs in chosen for run in runs], group.class_names)
    matrices = {label: [sparse(counts_of(run)) for run in runs] for label, runs in chosen}
    summed = sum(len(matrix) for one in matrices.values() for matrix in one) > MOST_NUMBERS
    found: list[list[int]] = []
    options: list[dict[str, Any]] = []
    for label, runs in chosen:
        places = list(range(len(found), len(found) + len(runs)))
        together = f"{label}, {plural(len(runs), 'seed')} added up"
        if summed:
            found.append(sparse(np.sum([np.asarray(counts_of(run)) for run in runs], axis=0)))
            options.append({"label": together, "runs": [len(found) - 1]})
            continue
        found += matrices[label]
        if len(runs) > 1:
            options.append({"label": together, "runs": places})
        options += [{"label": _name(label, run), "runs": [place]} for run, place in zip(runs, places, strict=True)]
    return {"classes": classes, "runs": found, "options": options, "summed": summed, "cut": cut}


def _shown(runs: Sequence[ReportRun], names: list[str]) -> tuple[list[str], Callable[[ReportRun], npt.ArrayLike], str]:
    """The classes of the viewer, its counts of a run, and what is left out, in words.

    With too many classes for it, the last class stands for all others: images of the classes shown that are taken for one
    of those. Its own row is empty.
    """
    if len(names) <= MOST_CLASSES:
        return names, lambda run: run.results.test.confusion_matrix, ""
    errors = np.zeros(len(names), dtype=np.int64)
    for run in runs:
        errors += SparseCounts.of(run.results.test.confusion_matrix).errors
    kept = np.sort(np.argsort(-errors, kind="stable")[:MOST_CONFUSED])

    def counts_of(run: ReportRun) -> npt.NDArray[np.int64]:
        counts = SparseCounts.of(run.results.test.confusion_matrix)
        found = np.zeros((len(kept) + 1, len(kept) + 1), dtype=np.int64)
        found[:-1, :-1] = counts.part(kept, kept)
        found[:-1, -1] = counts.support[kept] - found[:-1, :-1].sum(axis=1)
        return found

    others = f"(any of {len(names) - len(kept):,} other classes)"
    words = (
        f"The {len(kept)} of {len(names):,} classes with the most errors are shown; the last column counts predictions of any "
        "other class. All counts are in confusion_matrix.csv of each run."
    )
    return [*(names[number] for number in kept), others], counts_of, words


def sparse(matrix: npt.ArrayLike) -> list[int]:
    """The counts row after row, with a negative number in place of each stretch of zeros: minus its length.

    At most C * C numbers, and where errors are few about two for each kind of error. Zeros after the last count are left out.

    Args:
        matrix: (C, C) counts, rows true, columns predicted.
    """
    flat = np.asarray(matrix, dtype=np.int64).ravel()
    places = np.flatnonzero(flat)
    gaps = np.diff(places, prepend=-1) - 1
    pairs = np.stack([-gaps, flat[places]], axis=1).ravel()
    return [int(number) for number in pairs[pairs != 0]]


def _name(label: str, run: ReportRun) -> str:
    return f"{label}, seed {run.seed}" + (f" ({run.unfinished})" if run.unfinished else "")
