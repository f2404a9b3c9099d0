"""The accuracies that were measured along an online stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Anytime:
    """The measurements of a run so far."""

    every: int
    """Images of the stream between two measurements."""
    accuracy: list[float | None] = field(default_factory=list)
    """In order; None where no test image was of a class seen."""

    def figures(self) -> dict[str, Any]:
        """The fields of results.json."""
        return {
            "anytime_accuracy": self.accuracy,
            "average_anytime_accuracy": average_anytime_accuracy(self.accuracy),
            "anytime_every": self.every,
        }


def average_anytime_accuracy(accuracy: list[float | None]) -> float | None:
    """Mean of the accuracies at equally spaced positions of an online stream, each on the classes seen until then.

    It is the area under the curve of accuracy over the number of images, A_AUC of Koh et al., ICLR 2022 (arXiv 2110.10031),
    divided by the length of the stream; and the average anytime accuracy of Soutif-Cormerais et al., 2023 (arXiv 2308.10328),
    which weights the experiences equally instead of the images of the classes seen.

    Args:
        accuracy: In order; None is left out.
    """
    known = [value for value in accuracy if value is not None]
    return sum(known) / len(known) if known else None
