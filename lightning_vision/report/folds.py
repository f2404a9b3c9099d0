"""Cross-validation: folds repeat a method, like seeds, but each fold has its own test images."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from lightning_vision.report.means import by_key
from lightning_vision.report.runs import ReportRun
from lightning_vision.results.schema import Results


@dataclass(frozen=True)
class Fold:
    """One fold of a cross-validation.

    Args:
        folds: How many there are.
        fold: Which one is the test set, from 0.
        data: What is the same for all folds of the same images.
    """

    folds: int
    fold: int
    data: str

    def repeat(self, seed: int) -> int:
        """One number for a seed and a fold; with one seed, 0, it is the fold."""
        return seed * self.folds + self.fold


def fold_of(results: Results) -> Fold | None:
    """The fold that a run was tested on; None where the split is another."""
    data = results.run.data
    options = data.get("init_args")
    split = options.get("split") if isinstance(options, dict) else None
    if not (isinstance(options, dict) and isinstance(split, dict)):
        return None
    folds, fold = split.get("folds"), split.get("fold", 0)
    if not (isinstance(folds, int) and isinstance(fold, int) and 0 <= fold < folds):
        return None
    counts = data.get("samples_per_class")
    each = counts.values() if isinstance(counts, dict) else ()
    images = [sum(n for n in parts.values() if isinstance(n, int)) for parts in each if isinstance(parts, dict)]
    same = [folds, data.get("class_path"), options.get("root"), options.get("seed"), sorted(images)]
    return Fold(folds, fold, json.dumps(same, default=str))


def by_fold(runs: Sequence[ReportRun], of: Callable[[ReportRun], float | None]) -> dict[int, float]:
    """A figure by fold, the seeds of a fold averaged.

    Args:
        runs: Complete ones of one method, all of folds.
        of: Gives the figure of a run; None where it is not known.
    """
    found = by_key((fold.fold, of(run)) for run in runs if (fold := fold_of(run.results)) is not None)
    return {fold: fmean(values) for fold, values in sorted(found.items())}


def share_tested(runs: Sequence[ReportRun]) -> float:
    """Test images over training images, the mean over runs; where they were not counted 1 / (k - 1), that of equal folds."""
    shares = []
    for run in runs:
        samples, fold = run.results.run.data.get("samples"), fold_of(run.results)
        test, train = (samples.get(part) for part in ("test", "train")) if isinstance(samples, dict) else (None, None)
        if isinstance(test, int) and isinstance(train, int) and test > 0 and train > 0:
            shares.append(test / train)
        elif fold is not None and fold.folds > 1:
            shares.append(1 / (fold.folds - 1))
    return fmean(shares) if shares else 1.0


CROSS_VALIDATION = (
    "Cross-validation: each fold has its own test images (seed s and fold f of k are shown as seed s k + f). Intervals and tests "
    "take into account that folds share training images; the seeds of a fold are averaged first."
)
