"""How well a score tells strangers from the known, as pure functions."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from sklearn.metrics import average_precision_score, roc_auc_score

SHARE_ACCEPTED = 0.95
"""Of the known, where the share of strangers that are accepted is asked for."""


class Separation(BaseModel):
    """The figures of one score; all lie between 0 and 1."""

    model_config = ConfigDict(extra="forbid")

    auroc: float
    """Chance that a random stranger is stranger than a random known image, ties half; 0.5 is guessing."""
    aupr_known: float
    """Average precision with the known as positives; guessing gives their share of all images."""
    aupr_unknown: float
    """The same with the strangers as positives."""
    fpr95: float
    """Share of the strangers that are accepted where the threshold accepts 95 % of the known."""


def separation(known: npt.NDArray[np.floating], unknown: npt.NDArray[np.floating]) -> Separation:
    """The usual figures of a score that is larger for strangers.

    The known are the positives of the true-positive rate, as in ODIN (arXiv 1706.02690) and the energy score (arXiv
    2010.03759); pytorch-ood's FPR95TPR is the other way round. The area under the precision-recall curve is the average
    precision: the trapezoidal rule is too hopeful (Davis & Goadrich 2006).

    Args:
        known: (N,) strangeness of images of known classes.
        unknown: (M,) strangeness of strangers.

    Raises:
        ValueError: One of the two is empty.
    """
    if not len(known) or not len(unknown):
        raise ValueError(f"Both sides need images; found {len(known)} known and {len(unknown)} unknown ones.")
    strangeness = np.concatenate([known, unknown]).astype(np.float64)
    stranger = np.repeat([False, True], [len(known), len(unknown)])
    threshold = np.sort(known)[math.ceil(SHARE_ACCEPTED * len(known)) - 1]
    return Separation(
        auroc=float(roc_auc_score(stranger, strangeness)),
        aupr_known=float(average_precision_score(~stranger, -strangeness)),
        aupr_unknown=float(average_precision_score(stranger, strangeness)),
        fpr95=float(np.mean(unknown <= threshold)),
    )
