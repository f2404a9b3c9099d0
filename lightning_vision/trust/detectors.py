"""Five out-of-distribution scores of an image, from its features and logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_vision.errors import TrainingError

MAX_SOFTMAX, ENERGY, MAX_LOGIT, MAHALANOBIS, NEIGHBOURS = DETECTORS = (
    "maximum softmax",
    "energy",
    "maximum logit",
    "Mahalanobis",
    "nearest neighbours",
)
ABOUT = {
    MAX_SOFTMAX: "Hendrycks & Gimpel 2017 (arXiv 1610.02136): the confidence, at T = 1",
    ENERGY: "Liu et al. 2020 (arXiv 2010.03759): the logarithm of the sum of exp(logit), at T = 1",
    MAX_LOGIT: "Hendrycks et al. 2022 (arXiv 1911.11132): the largest logit",
    MAHALANOBIS: "Lee et al. 2018 (arXiv 1807.03888): distance of the features to the nearest class mean, by one covariance",
    NEIGHBOURS: "Sun et al. 2022 (arXiv 2204.06507): distance of the normalised features to the k-th nearest of training",
}
PER_NEIGHBOUR = 1000
"""k is a thousandth of the training features: Sun et al. take 50 of CIFAR-10's 50,000."""

Features = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]


class Detectors:
    """The five scores, fitted on training features. Larger means further from the training data.

    Maximum softmax, energy, maximum logit and nearest neighbours are pytorch-ood's. Its Mahalanobis is not used: it inverts
    in float32 a covariance that has no inverse if there are fewer images than features, or features that are always 0, and
    then returns negative distances; see ``Mahalanobis``.

    Args:
        features: (N, D) of training images.
        labels: (N,) their classes.

    Raises:
        TrainingError: Features are not finite, or there are none.
    """

    def __init__(self, features: Features, labels: npt.NDArray[np.int64]) -> None:
        # It imports scipy.stats and others, which takes more than a second.
        from pytorch_ood.detector import KNN, EnergyBased, MaxLogit, MaxSoftmax

        if not len(features) or not np.isfinite(features).all():
            raise TrainingError(
                "Out-of-distribution detection needs finite features of training images; found "
                f"{len(features)}{', some of them not finite' if len(features) else ''}. Check the training, or the data."
            )
        self.neighbours = max(1, round(len(features) / PER_NEIGHBOUR))
        self.logit_scores = (MaxSoftmax.score, EnergyBased.score, MaxLogit.score)
        self.mahalanobis = Mahalanobis(features, labels)
        self.knn = KNN(None, k=self.neighbours).fit_features(torch.from_numpy(features), torch.from_numpy(labels))

    def scores(self, features: Tensor, logits: Tensor) -> Scores:
        """The scores (B, 5) of images, in the order of ``DETECTORS``.

        Args:
            features: (B, D) float32.
            logits: (B, C) float32; -inf for classes that were not seen.
        """
        columns = [np.asarray(score(logits)) for score in self.logit_scores]
        columns += [self.mahalanobis.distance(features.numpy()), self.knn.predict_features(features).numpy()]
        return np.stack(columns, axis=1).astype(np.float32)


class Mahalanobis:
    """Distance to the nearest class mean, by the covariance that the classes share (Lee et al. 2018, equations 1 and 2).

    d(v) = min_c (v - mu_c)^T S^+ (v - mu_c), with S the covariance (D, D) of the training features about their class means,
    divided by N, in float64. S^+ is the pseudo-inverse, as in the code of the paper: directions in which the training
    features do not vary are ignored.

    Args:
        features: (N, D) of training images.
        labels: (N,) their classes.
    """

    def __init__(self, features: Features, labels: npt.NDArray[np.int64]) -> None:
        v = features.astype(np.float64)
        classes, place = np.unique(labels, return_inverse=True)
        mu = np.stack([v[place == number].mean(axis=0) for number in range(len(classes))])  # (C, D)
        centred = v - mu[place]
        variance, directions = np.linalg.eigh(centred.T @ centred / len(v))
        # Below, the differences of float32 features are rounding.
        smallest = variance[-1] * len(variance) * float(np.finfo(np.float32).eps) ** 2
        kept = variance > smallest
        self.whitening = directions[:, kept] / np.sqrt(variance[kept])  # (D, rank)
        self.means = mu @ self.whitening  # (C, rank)

    def distance(self, features: Features) -> npt.NDArray[np.float64]:
        """The squared distance (B,) of features (B, D)."""
        w = features.astype(np.float64) @ self.whitening
        distances = np.stack([np.square(w - mean).sum(axis=1) for mean in self.means])  # (C, B)
        nearest: npt.NDArray[np.float64] = distances.min(axis=0)
        return nearest
