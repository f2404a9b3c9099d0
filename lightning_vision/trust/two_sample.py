"""A two-sample test on features: whether a simple classifier can separate two sets of images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lightning_vision.seeding import derive_seed

FEWEST = 10
"""Images that each set needs; with fewer the test is not run."""
COMPONENTS = 32
"""Principal components that the classifier uses: with more, small sets are separable by chance."""
PERMUTATIONS = 999

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class TwoSample:
    """The result of the test."""

    auc: float
    """Chance that a random held-out image of the second set scores higher than one of the first; 0.5: no difference."""
    p_value: float
    """Share of random exchanges of the held-out images that separate them as well."""
    likeness: Floats
    """(M,) log odds of the second set's images to be of it, those that the classifier was fitted on too."""
    likeness_first: Floats
    """(N,) the same of the first set's."""


def classifier_two_sample_test(first: Floats, second: Floats, seed: int) -> TwoSample | None:
    """The test of Lopez-Paz & Oquab, "Revisiting Classifier Two-Sample Tests", ICLR 2017 (arXiv 1610.06545).

    A logistic regression on the leading principal components of the standardised features learns one half of each set; the
    other halves are scored. Difference from the paper: the area under the ROC curve in place of the accuracy, which is not
    biased by sets of unequal size, and exchanges of the held-out images in place of the normal approximation.

    Args:
        first: (N, D) features.
        second: (M, D) features.
        seed: Of the halves and the exchanges.

    Returns:
        None where one of the sets has fewer than ``FEWEST`` images.
    """
    if min(len(first), len(second)) < FEWEST:
        return None
    generator = np.random.default_rng(derive_seed(seed, "two-sample test"))
    features = np.concatenate([first, second]).astype(np.float64)
    belongs = np.repeat([0, 1], [len(first), len(second)])
    learns = np.zeros(len(features), dtype=np.bool_)
    for side in (0, 1):
        rows = generator.permutation(np.flatnonzero(belongs == side))
        learns[rows[: len(rows) // 2]] = True
    components = min(COMPONENTS, features.shape[1], int(learns.sum()) - 1)
    model = make_pipeline(
        StandardScaler(),
        PCA(components, random_state=0),
        StandardScaler(),
        LogisticRegression(class_weight="balanced", max_iter=1000),
    )
    model.fit(features[learns], belongs[learns])
    scores = model.decision_function(features)
    held_out = ~learns
    auc, p_value = _exchange(scores[held_out], belongs[held_out], generator)
    return TwoSample(auc, p_value, scores[belongs == 1], scores[belongs == 0])


def chance_of_larger(first: Floats, second: Floats) -> float:
    """Chance that a random value of the second is larger than one of the first, ties half: Mann and Whitney's U / (N M)."""
    ranks = rankdata(np.concatenate([first, second]))
    n, m = len(first), len(second)
    return float((ranks[n:].sum() - m * (m + 1) / 2) / (n * m))


def _exchange(scores: Floats, belongs: npt.NDArray[np.int64], generator: np.random.Generator) -> tuple[float, float]:
    """The area under the ROC curve, and how often it is reached where it is chance who belongs to which set."""
    ranks, m = rankdata(scores), int(belongs.sum())
    n = len(belongs) - m

    def area(chosen: npt.NDArray[np.int64]) -> float:
        return float((ranks[chosen == 1].sum() - m * (m + 1) / 2) / (n * m))

    found = area(belongs)
    as_good = sum(area(generator.permutation(belongs)) >= found for _ in range(PERMUTATIONS))
    return found, (1 + as_good) / (1 + PERMUTATIONS)
