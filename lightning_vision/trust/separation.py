"""How well a score separates out-of-distribution from in-distribution images, as pure functions."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from sklearn.metrics import average_precision_score, roc_auc_score

SHARE_ACCEPTED = 0.95
"""Of the in-distribution images, for the false positive rate."""


class Separation(BaseModel):
    """The figures of one score; all lie between 0 and 1."""

    model_config = ConfigDict(extra="forbid")

    auroc: float
    """Probability that a random out-of-distribution image scores higher than a random in-distribution image, ties count half;
    0.5 is guessing."""
    aupr_in_distribution: float
    """Average precision with in-distribution images as positives; guessing gives their share of all images."""
    aupr_ood: float
    """The same with out-of-distribution images as positives."""
    fpr95: float
    """Share of the out-of-distribution images that are accepted at the threshold that accepts 95 % of the in-distribution images."""


def separation(in_distribution: npt.NDArray[np.floating], ood: npt.NDArray[np.floating]) -> Separation:
    """The usual figures of a score that is larger for out-of-distribution images.

    In-distribution images are the positives of the true positive rate, as in ODIN (arXiv 1706.02690) and the energy score
    (arXiv 2010.03759); pytorch-ood's FPR95TPR is the other way round. The area under the precision-recall curve is the average
    precision: the trapezoidal rule is too optimistic (Davis & Goadrich 2006).

    Args:
        in_distribution: (N,) scores of images of the classes.
        ood: (M,) scores of images of other classes.

    Raises:
        ValueError: One of the two is empty.
    """
    if not len(in_distribution) or not len(ood):
        raise ValueError(
            f"Both sides need images; found {len(in_distribution)} in-distribution and {len(ood)} out-of-distribution ones."
        )
    scores = np.concatenate([in_distribution, ood]).astype(np.float64)
    is_ood = np.repeat([False, True], [len(in_distribution), len(ood)])
    threshold = np.sort(in_distribution)[math.ceil(SHARE_ACCEPTED * len(in_distribution)) - 1]
    return Separation(
        auroc=float(roc_auc_score(is_ood, scores)),
        aupr_in_distribution=float(average_precision_score(~is_ood, -scores)),
        aupr_ood=float(average_precision_score(is_ood, scores)),
        fpr95=float(np.mean(ood <= threshold)),
    )
