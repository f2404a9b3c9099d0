"""When to say "I do not know": a threshold on the confidence, and what it costs in coverage and saves in errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from lightning_vision.errors import ConfigError

CERTAINTY = 0.95
"""Confidence of the bound on the risk."""

Floats = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Chosen:
    """What a threshold does on some images."""

    threshold: float
    accepted: int
    errors: int
    """Of those accepted."""
    images: int

    @property
    def coverage(self) -> float:
        """Share of the images that are accepted: their confidence reaches the threshold."""
        return self.accepted / self.images

    @property
    def risk(self) -> float | None:
        """Share of errors among those accepted; None if there are none."""
        return self.errors / self.accepted if self.accepted else None

    @property
    def risk_bound(self) -> float | None:
        """Upper bound of the risk with 95 % confidence: Clopper and Pearson's exact one-sided bound."""
        if not self.accepted:
            return None
        if self.errors == self.accepted:
            return 1.0
        return float(beta.ppf(CERTAINTY, self.errors + 1, self.accepted - self.errors))


def at_threshold(confidence: Floats, correct: Flags, threshold: float) -> Chosen:
    """What a threshold does on images: (N,) confidences and whether the predictions are right."""
    accepted = confidence >= threshold
    return Chosen(float(threshold), int(accepted.sum()), int((accepted & ~correct).sum()), len(confidence))


def threshold_for_coverage(confidence: Floats, correct: Flags, coverage: float) -> Chosen:
    """The largest threshold that accepts at least a share ``coverage`` of the images."""
    kept = max(1, math.ceil(round(coverage * len(confidence), 9)))
    return at_threshold(confidence, correct, float(np.sort(confidence)[::-1][kept - 1]))


def threshold_for_risk(confidence: Floats, correct: Flags, risk: float) -> Chosen:
    """The smallest threshold with at most a share ``risk`` of errors among the accepted images: the one with the most coverage.

    Geifman & El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017 (arXiv 1705.08500). Difference from
    the paper: the share of errors on these images is held to the target and the bound is stated beside it
    (``Chosen.risk_bound``); the paper holds the bound to the target, which takes thousands of images for small risks.

    Raises:
        ConfigError: No threshold reaches that risk.
    """
    order = np.argsort(-confidence, kind="stable")
    # A threshold accepts all images of equal confidence: only the last of such a group is a choice.
    last = np.append(np.diff(confidence[order]) != 0, True)
    risks = np.cumsum(~correct[order])[last] / (np.flatnonzero(last) + 1)
    within = np.flatnonzero(risks <= risk)
    if not len(within):
        best = int(risks.argmin())
        raise ConfigError(
            f"--risk {risk:g}: no threshold reaches it on the {len(confidence)} validation images: the smallest risk is "
            f"{risks[best]:.4f}, with {np.flatnonzero(last)[best] + 1} of them accepted. Give a larger risk, or --coverage."
        )
    return at_threshold(confidence, correct, float(confidence[order][last][within[-1]]))


def risk_coverage(confidence: Floats, correct: Flags) -> tuple[Floats, Floats]:
    """The curve of risk over coverage (El-Yaniv & Wiener 2010): accept the k most confident images, for k = 1 to N.

    The order among images of equal confidence is arbitrary: their errors are spread evenly, which is the mean over all orders.

    Args:
        confidence: (N,)
        correct: (N,) whether the prediction is right.

    Returns:
        Coverage (N,) ascending, and the risk (N,) at it.
    """
    _, group = np.unique(-confidence, return_inverse=True)
    share = np.bincount(group, ~correct) / np.bincount(group)
    accepted = np.arange(1, len(confidence) + 1)
    return accepted / len(confidence), np.cumsum(share[np.sort(group)]) / accepted


def area_under_risk_coverage(confidence: Floats, correct: Flags) -> float:
    """AURC (Geifman et al. 2019, arXiv 1805.08206): the mean risk over all coverages k / N; smaller is better."""
    return float(risk_coverage(confidence, correct)[1].mean())
