"""Finds the images whose label is most doubtful, from features, by confident learning.

Confident learning: C. G. Northcutt, L. Jiang and I. L. Chuang, "Confident learning: estimating uncertainty in dataset labels",
Journal of Artificial Intelligence Research 70 (2021). The library cleanlab, by the same authors, computes it. It is given
probabilities that a logistic regression predicts for images that it was not fitted to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lightning_vision.array_types import Rows
from lightning_vision.data.stratified_split import deal, group_codes
from lightning_vision.errors import DataError
from lightning_vision.seeding import derive_seed

FOLDS = 5
MOST_DIMENSIONS = 128
"""Features are reduced to so many principal components, which makes a fold a matter of seconds."""
STRENGTH = 0.001
"""``C`` of the logistic regression, for thousands of images. With wrong labels among them a strong penalty finds more: on features
of CIFAR-10, on which it was chosen, it finds 58 % of flipped labels among the first 5 %, and 48 % with 0.01."""
NEIGHBOURS = 3
BLOCK = 256
"""Images that are compared with all others at once."""

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Neighbours:
    """The most similar images of an image, the nearest first."""

    rows: Rows
    """(K,)"""
    similarity: npt.NDArray[np.float64]
    """(K,) cosine of the angle between the features."""


@dataclass(frozen=True)
class LabelDoubts:
    """How doubtful the labels of N images are, the most doubtful first."""

    rows: Rows
    """(N,) rows of the sample table."""
    label: Rows
    """(N,) the labels that they have."""
    suggested: Rows
    """(N,) the most likely of the other labels."""
    given: npt.NDArray[np.float64]
    """(N,) the probability of the label that they have."""
    other: npt.NDArray[np.float64]
    """(N,) the probability of the suggested label."""
    is_error: npt.NDArray[np.bool_]
    """(N,) whether confident learning counts the label as an error."""
    not_judged: int
    """Images of classes with too few images or groups for an assessment."""
    folds: int

    @property
    def errors(self) -> int:
        """Labels that confident learning counts as errors."""
        return int(self.is_error.sum())

    def sentence(self) -> str:
        """The result in words."""
        judged = f"{len(self.rows):,} labels were assessed"
        left = f"; {self.not_judged:,} are of classes with too few images or groups" if self.not_judged else ""
        return f"{judged}{left}. {self.errors:,} may be wrong by confident learning"


def find_doubts(
    features: Floats, labels: Rows, rows: Rows, seed: int, groups: npt.ArrayLike | None = None
) -> LabelDoubts:
    """Rank images by the doubt about their label.

    The probabilities of an image are predicted by a logistic regression that was fitted to other folds. Images of a group are
    in the same fold. The rank is the probability of the label minus that of the most likely other label.

    Args:
        features: (N, D).
        labels: (N,) integers.
        rows: (N,) the images' rows in the sample table.
        seed: Deals the folds.
        groups: (N,) the groups of the images; a missing value is a group of its own.

    Raises:
        DataError: Fewer than two classes have images in two folds.
    """
    from cleanlab.filter import find_label_issues  # imports scikit-learn, 1.3 s

    part = deal(labels, [1 / FOLDS] * FOLDS, (seed, "label doubts"), groups)
    classes, codes = np.unique(labels, return_inverse=True)
    in_fold = np.zeros((FOLDS, len(classes)), dtype=np.int64)
    np.add.at(in_fold, (part, codes), 1)
    # Whoever is alone in a fold with a class is judged by a regression that does not know the class.
    judgeable = (in_fold > 0).sum(axis=0) > 1
    kept = np.flatnonzero(judgeable[codes])
    if judgeable.sum() < 2:
        raise DataError(
            f"Doubtful labels: expected at least two classes with two images, in different groups if there are any; found "
            f"{int(judgeable.sum())} among {len(classes)}. Give more images, or leave out --ckpt_path."
        )
    names, known = np.unique(codes[kept], return_inverse=True)
    probabilities = _out_of_sample(np.asarray(features, dtype=np.float32)[kept], known, part[kept], seed)
    issues = find_label_issues(known, probabilities, n_jobs=1)
    place = np.arange(len(kept))
    given = probabilities[place, known]
    others = probabilities.copy()
    others[place, known] = -1
    best = others.argmax(axis=1)
    other = others[place, best]
    order = np.argsort(given - other, kind="stable")
    numbers = classes[names]
    return LabelDoubts(
        rows=rows[kept][order],
        label=numbers[known][order],
        suggested=numbers[best][order],
        given=given[order],
        other=other[order],
        is_error=np.asarray(issues, dtype=np.bool_)[order],
        not_judged=len(labels) - len(kept),
        folds=len(np.unique(part[kept])),
    )


def _out_of_sample(features: Floats, labels: Rows, part: Rows, seed: int) -> npt.NDArray[np.float64]:
    """(N, C) probabilities, each predicted from the other folds; a row sums to 1."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer, StandardScaler

    found = np.zeros((len(labels), int(labels.max()) + 1))
    for fold in np.unique(part).tolist():
        held_out = part == fold
        rest = features[~held_out]
        dimensions = min(MOST_DIMENSIONS, *rest.shape)
        state = derive_seed(seed, "label doubts", fold) % 2**32
        model = make_pipeline(
            Normalizer(),
            PCA(dimensions, svd_solver="randomized", random_state=state),
            StandardScaler(),
            LogisticRegression(C=max(STRENGTH, 2 / len(rest)), max_iter=200),
        )
        model.fit(rest, labels[~held_out])
        found[np.ix_(held_out, model.classes_)] = model.predict_proba(features[held_out])
    return found


def nearest(features: Floats, places: Rows, groups: npt.ArrayLike | None = None) -> list[Neighbours]:
    """The most similar images of some images, outside their own groups.

    Args:
        features: (N, D).
        places: (M,) of the N, whose neighbours are wanted.
        groups: (N,) the groups of the images; a missing value is a group of its own.

    Returns:
        M of them; their rows are places among the N.
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(lengths, np.finfo(np.float32).tiny)
    group = np.arange(len(unit)) if groups is None else group_codes(groups)
    found = []
    for start in range(0, len(places), BLOCK):
        block = places[start : start + BLOCK]
        cosine = unit[block] @ unit.T
        cosine[group[block][:, None] == group[None, :]] = -np.inf
        for row in cosine:
            best = np.argpartition(-row, min(NEIGHBOURS, len(row) - 1))[:NEIGHBOURS]
            best = best[np.argsort(-row[best], kind="stable")]
            best = best[np.isfinite(row[best])]
            found.append(Neighbours(best, row[best].astype(np.float64)))
    return found
