"""The classes of a run counted in another order: matched by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lightning_vision.results.schema import Results, Scores
from lightning_vision.storage.sparse_counts import SparseCounts


def in_class_order(results: Results, class_names: Sequence[str]) -> Results:
    """The same results with matrices, scores and numbers of classes in another order.

    Args:
        results: Of a run.
        class_names: Its C class names, in the order that is wanted.
    """
    if results.class_names == list(class_names):
        return results
    place = {name: position for position, name in enumerate(class_names)}
    numbers = [place[name] for name in results.class_names]  # (C,) old number to new
    order = np.argsort(numbers)  # (C,) new number to old

    def ordered(scores: Scores) -> Scores:
        matrix = scores.confusion_matrix
        if isinstance(matrix, SparseCounts):
            counts: list[list[int]] | SparseCounts = matrix.renumbered(numbers)
        else:
            counts = np.array(matrix)[np.ix_(order, order)].tolist()
        per_class = {name: scores.per_class[name] for name in class_names}
        return scores.model_copy(update={"confusion_matrix": counts, "per_class": per_class})

    return results.model_copy(
        update={
            "class_names": list(class_names),
            "test": ordered(results.test),
            "first_test": ordered(results.first_test),
            "variants": {
                name: variant.model_copy(update={"test": ordered(variant.test)})
                for name, variant in results.variants.items()
            },
            "experiences": [
                record.model_copy(update={"classes": sorted(numbers[label] for label in record.classes)})
                for record in results.experiences
            ],
        }
    )
