"""The interval of the average anytime accuracy, for which no predictions are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from lightning_vision.report.means import mean_of_all
from lightning_vision.report.proportion import Interval, t_quantile
from lightning_vision.report.runs import ReportRun
from lightning_vision.report.statistics import ALPHA
from lightning_vision.results.schema import ExperienceRecord

MOST_FREEDOM = 1e6
"""Degrees of freedom at which Student's t is the normal distribution."""


def anytime_interval(runs: Sequence[ReportRun], level: float = 1 - ALPHA) -> Interval | None:
    r"""The mean over seeds, with an interval over seeds and images that is at least as wide as it should be.

    The figure A of a run is the mean of M accuracies p_m on N_m images, and the variance of a mean is at most the mean of the
    variances: over images it is at most that of one image with p_m (1 - p_m). With s^2 the variance of A over S seeds,

    .. math:: v = \frac{s^2}{S} + \frac{1}{M} \sum_m \frac{p_m (1 - p_m)}{N_m}

    and Student's t with Satterthwaite's degrees of freedom, (S - 1) (v S / s^2)^2.

    Args:
        runs: The complete runs of a method.
        level: Between 0 and 1.

    Returns:
        None if a run has no such figure; no bounds if N_m is not known, or images are in groups.
    """
    averages = [run.results.average_anytime_accuracy for run in runs]
    mean = mean_of_all(averages)
    if mean is None:
        return None
    of_images = [_variance_over_images(run) for run in runs]
    known = [value for value in of_images if value is not None]
    if len(known) < len(runs):
        return Interval(mean, None, None)
    seeds = float(np.var(np.array(averages, dtype=np.float64), ddof=1)) / len(runs) if len(runs) > 1 else 0.0
    variance = seeds + float(np.mean(known))
    freedom = min((len(runs) - 1) * (variance / seeds) ** 2, MOST_FREEDOM) if seeds else MOST_FREEDOM
    half = t_quantile(level, freedom) * math.sqrt(variance)
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half))


def _variance_over_images(run: ReportRun) -> float | None:
    """The second term of v, of one run."""
    accuracy, every, predictions = run.results.anytime_accuracy, run.results.anytime_every, run.predictions()
    if not accuracy or not every or predictions is None or predictions.group is not None:
        return None
    share = _measured_share(run.config, len(predictions.label))
    if share is None:
        return None
    records, seen = run.results.experiences, set[int]()
    online, processes = {record.index for record in run.increments}, run.results.environment.devices
    ends = list(accumulate(_counted(record, processes) if record.index in online else 0 for record in records))
    images = [np.isin(predictions.label, list(seen := seen.union(record.classes))).sum() for record in records]
    terms = []
    for m, p in enumerate(accuracy, start=1):
        t = min(int(np.searchsorted(ends, m * every)), len(records) - 1)
        if p is not None and images[t]:
            terms.append(p * (1 - p) / (images[t] * share))
    return float(np.mean(terms)) if terms else None


def _counted(record: ExperienceRecord, processes: int) -> int:
    """The images of an experience as ``anytime_every`` counts them: its last batch is a whole one."""
    batch = (record.batch_size or 1) * processes
    return -(-record.train_samples // batch) * batch


def _measured_share(config: dict[str, Any], images: int) -> float | None:
    """The share of the test images that a measurement looks at, as config.yaml says; None if it does not."""
    try:
        most = config["data"]["init_args"]["stream"]["init_args"]["evaluate_images"]
    except (KeyError, TypeError):
        return None
    if not isinstance(most, int | None):
        return None
    return 1.0 if most is None else min(1.0, most / max(1, images))
