"""Five scores of how strange an image is to a classifier, from its features and logits."""

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
Strangeness = npt.NDArray[np.float32]


class Detectors:
    """The five scores, fitted on training features. Larger is stranger.

    Maximum softmax, energy, maximum logit and nearest neighbours are pytorch-ood's. Its Mahalanobis is not used: it inverts
    in float32 what has no inverse where there are fewer images than features, or features that are always 0, and then
    gives negative distances; see ``Mahalanobis``.

    Args:
        features: (N, D) of training images.
        labels: (N,) their classes.

    Raises:
        TrainingError: Features are not finite, or there are none.
    """

    def __init__(self, features: Features, labels: npt.NDArray[np.int64]) -> None:
        # It draws in scipy.stats and others, which takes more than a second.
        from pytorch_ood.detector import KNN, EnergyBased, MaxLogit, MaxSoftmax

        if not len(features) or not np.isfinite(features).all():
            raise TrainingError(
                "Strangers are told by the features of training images: expected some, all finite; found "
                f"{len(features)}{', some of them not finite' if len(features) else ''}. Look at the training, or at the data."
            )
        self.neighbours = max(1, round(len(features) / PER_NEIGHBOUR))
        self.logit_scores = (MaxSoftmax.score, EnergyBased.score, MaxLogit.score)
        self.mahalanobis = Mahalanobis(features, labels)
        self.knn = KNN(None, k=self.neighbours).fit_features(torch.from_numpy(features), torch.from_numpy(labels))

    def scores(self, features: Tensor, logits: Tensor) -> Strangeness:
        """The strangeness (B, 5) of images, in the order of ``DETECTORS``.

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
    features do not differ at all count nothing.

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
