"""Selection of images: most confident errors, overall, per class and per confused pair, correct images, new errors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_vision.array_types import Rows
from lightning_vision.explanation.observations import Observations
from lightning_vision.seeding import derive_seed

Positions = npt.NDArray[np.int64]
"""Positions among the observed images."""


def most_confident_errors(seen: Observations, most: int) -> Positions:
    """The errors with the highest confidence, in descending order; ties are in the order of the rows."""
    return _most_confident(seen, np.flatnonzero(seen.wrong), most)


def errors_by_class(seen: Observations, per_class: int, most_classes: int) -> dict[int, Positions]:
    """The most confident errors of each true class, for the classes with the most errors, ascending by class."""
    labels, counts = np.unique(seen.label[seen.wrong], return_counts=True)
    chosen = np.sort(labels[np.argsort(-counts, kind="stable")][:most_classes])
    return {
        int(label): _most_confident(seen, np.flatnonzero(seen.wrong & (seen.label == label)), per_class)
        for label in chosen
    }


def errors_by_pair(seen: Observations, most_pairs: int, per_pair: int) -> dict[tuple[int, int], Positions]:
    """The most confident errors of the most frequent confusions (true class, predicted class), most frequent first."""
    wrong = np.stack([seen.label[seen.wrong], seen.predicted[seen.wrong]], axis=1)
    pairs, counts = np.unique(wrong, axis=0, return_counts=True)
    found = {}
    for label, predicted in pairs[np.argsort(-counts, kind="stable")][:most_pairs].tolist():
        among = np.flatnonzero((seen.label == label) & (seen.predicted == predicted))
        found[label, predicted] = _most_confident(seen, among, per_pair)
    return found


def correct_ones(seen: Observations, most: int) -> Positions:
    """Correct images: the most confident of each class, then the second of each class, and so on."""
    right = _most_confident(seen, np.flatnonzero(~seen.wrong), None)
    rounds = np.zeros(len(right), dtype=np.int64)
    for label in np.unique(seen.label[right]):
        own = seen.label[right] == label
        rounds[own] = np.arange(own.sum())
    return right[np.argsort(rounds, kind="stable")][:most]


def turned_wrong(before: Observations, after: Observations, most: int) -> Positions:
    """Images that were correct before and are wrong now, the most confident errors first."""
    return _most_confident(after, np.flatnonzero(~before.wrong & after.wrong), most)


def drawn_rows(rows: Rows, labels: Rows, most: int, seed: int) -> Rows:
    """Draw at most ``most`` rows, balanced over classes; the result is sorted.

    Args:
        rows: (N,)
        labels: (N,) their classes.
        most: The maximum number.
        seed: Determines the result.
    """
    order = np.random.default_rng(derive_seed(seed, "explain", "drawn")).permutation(len(rows))
    rounds = np.zeros(len(rows), dtype=np.int64)
    for label in np.unique(labels):
        own = order[labels[order] == label]
        rounds[own] = np.arange(len(own))
    return np.sort(rows[order[np.argsort(rounds[order], kind="stable")][:most]])


def nearest(
    features: Tensor, wanted: Rows, others: Tensor, labels: Rows, chunk: int = 4096
) -> tuple[Positions, Tensor]:
    """For each image, the most similar image of a class, by the cosine similarity of their features.

    Args:
        features: (N, D) of length 1.
        wanted: (N,) the class to search.
        others: (M, D) of length 1.
        labels: (M,) their classes.
        chunk: Number of ``others`` at once.

    Returns:
        (N,) positions among the others, -1 if the class has none; and the cosines (N,).
    """
    best = torch.full((len(features),), -torch.inf)
    place = torch.full((len(features),), -1)
    asked, known = torch.from_numpy(wanted), torch.from_numpy(labels)
    for start in range(0, len(others), chunk):
        cosine = features @ others[start : start + chunk].T  # (N, chunk)
        cosine = cosine.masked_fill(asked[:, None] != known[None, start : start + chunk], -torch.inf)
        value, column = cosine.max(dim=1)
        better = value > best
        best, place = torch.where(better, value, best), torch.where(better, column + start, place)
    return place.numpy(), best


def _most_confident(seen: Observations, among: Positions, most: int | None) -> Positions:
    order: Positions = among[np.argsort(-seen.confidence[among], kind="stable")][:most]
    return order
