"""Cross-validation: the folds of one data repeat a method, as seeds do, although each has test pictures of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass

from lightning_vision.results import Results


@dataclass(frozen=True)
class Fold:
    """One fold of a cross-validation.

    Args:
        folds: How many there are.
        fold: Which one is the test set, from 0.
        data: What is the same for all folds of the same pictures.
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
    pictures = [sum(n for n in parts.values() if isinstance(n, int)) for parts in each if isinstance(parts, dict)]
    same = [folds, data.get("class_path"), options.get("root"), options.get("seed"), sorted(pictures)]
    return Fold(folds, fold, json.dumps(same, default=str))


CROSS_VALIDATION = (
    "Cross-validation: each fold counts as a seed does, with its own test pictures (seed s and fold f of k are shown as "
    "s k + f). Folds share training pictures, so that intervals over them are narrower than over new data."
)
