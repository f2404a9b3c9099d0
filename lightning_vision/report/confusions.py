"""Confusion matrices for the page's viewer: as few characters as hold the counts, and what can be chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lightning_vision.report.runs import Group, ReportRun
from lightning_vision.terminal.wording import plural

MOST_NUMBERS = 2_000_000
"""Of all matrices of a group together, some 5 MB; with more, the runs of a method are added up."""


def confusion_data(group: Group) -> dict[str, Any]:
    """What the viewer reads.

    Args:
        group: Runs whose classes have one order.

    Returns:
        ``classes``: C names. ``runs``: of each run the confusion matrix after the last finished experience, see ``sparse``.
        ``options``: what can be chosen, best method first: a ``label``, and the ``runs`` to add up. ``summed``: whether the
        seeds of a method are only there together.
    """
    chosen = [(method.label, method.runs) for method in group.methods]
    if group.bases:
        chosen.append(("the base", group.bases))
    matrices = {label: [sparse(run.results.test.confusion_matrix) for run in runs] for label, runs in chosen}
    summed = sum(len(matrix) for one in matrices.values() for matrix in one) > MOST_NUMBERS
    found: list[list[int]] = []
    options: list[dict[str, Any]] = []
    for label, runs in chosen:
        places = list(range(len(found), len(found) + len(runs)))
        together = f"{label}, {plural(len(runs), 'seed')} added up"
        if summed:
            found.append(sparse(np.sum([run.results.test.confusion_matrix for run in runs], axis=0).tolist()))
            options.append({"label": together, "runs": [len(found) - 1]})
            continue
        found += matrices[label]
        if len(runs) > 1:
            options.append({"label": together, "runs": places})
        options += [{"label": _name(label, run), "runs": [place]} for run, place in zip(runs, places, strict=True)]
    return {"classes": group.class_names, "runs": found, "options": options, "summed": summed}


def sparse(matrix: Sequence[Sequence[int]]) -> list[int]:
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
