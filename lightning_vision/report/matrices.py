"""Which test images a method classifies correctly, as a matrix of seeds and images, matched with another by seed and path hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lightning_vision.report.predictions import RunPredictions
from lightning_vision.report.runs import ReportRun

Correct = npt.NDArray[np.bool_]
Groups = npt.NDArray[np.str_] | None


@dataclass(frozen=True, eq=False)
class Matrix:
    """The results of the models of one method on N test images after the last experience, one model per seed."""

    seeds: tuple[int, ...]
    """S of them, ascending."""
    images: npt.NDArray[np.str_]
    """(N,) see ``RunPredictions.keys``, ascending."""
    label: npt.NDArray[np.int64]
    """(N,) true classes."""
    correct: Correct
    """(S, N)"""
    groups: Groups
    """(N,); None if images are independent."""
    seed_free: bool
    """Whether two or more seeds give the same predictions."""


@dataclass(frozen=True)
class Matched:
    """Two methods on the S seeds and N images that both have."""

    first: Correct
    """(S, N)"""
    second: Correct
    """(S, N)"""
    groups: Groups


def matrix_of(runs: Sequence[ReportRun]) -> Matrix | None:
    """The matrix of one method.

    Args:
        runs: Its runs, one per seed. Runs without usable predictions are left out.

    Returns:
        None if no run has predictions, or no image is in all test sets.
    """
    found = {run.seed: predictions for run in runs if (predictions := run.predictions()) is not None}
    seeds = tuple(sorted(found))
    if not seeds:
        return None
    images, places = matched_images([found[seed] for seed in seeds])
    if not len(images):
        return None
    predicted = np.stack([found[seed].predicted[-1, place] for seed, place in zip(seeds, places, strict=True)])
    correct = np.stack([found[seed].correct[-1, place] for seed, place in zip(seeds, places, strict=True)])
    groups = [group[place] for seed, place in zip(seeds, places, strict=True) if (group := found[seed].group) is not None]  # fmt: skip
    same = len(seeds) > 1 and bool((predicted == predicted[0]).all())
    label = found[seeds[0]].label[places[0]]
    return Matrix(seeds, images, label, correct, groups[0] if groups else None, same)


def match(first: Matrix | None, second: Matrix | None) -> Matched | None:
    """Two methods side by side; None without a common seed or image."""
    if first is None or second is None:
        return None
    seeds = sorted(set(first.seeds) & set(second.seeds))
    _, one, other = np.intersect1d(first.images, second.images, assume_unique=True, return_indices=True)
    if not seeds or not len(one):
        return None
    rows, others = ([matrix.seeds.index(seed) for seed in seeds] for matrix in (first, second))
    groups = first.groups[one] if first.groups is not None else None if second.groups is None else second.groups[other]
    return Matched(first.correct[rows][:, one], second.correct[others][:, other], groups)


def matched_images(
    runs: Sequence[RunPredictions],
) -> tuple[npt.NDArray[np.str_], list[npt.NDArray[np.int64]]]:
    """The images that are in all of some test sets.

    Returns:
        Their keys (N,), ascending, and for each run the places of its arrays where they are, (N,).
    """
    keys = [run.keys for run in runs]
    images = np.unique(keys[0])
    for other in keys[1:]:
        images = np.intersect1d(images, other)
    places = []
    for of_run in keys:
        order = np.argsort(of_run)
        places.append(order[np.searchsorted(of_run[order], images)])
    return images, places
