"""What results.json says of the linear probe, from its predictions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict


class Probe(BaseModel):
    """A linear probe on the backbone's features after each experience; null for experiences without one."""

    model_config = ConfigDict(extra="forbid")

    accuracy: list[float | None]
    accuracy_matrix: list[list[float | None]]
    ridge: list[float | None]
    train_images: list[int | None]
    seconds: list[float | None]

    @classmethod
    def missing(cls, t: int, parts: int) -> Probe:
        """The probe of a run whose first t experiences were learned without one.

        Args:
            t: Number of experiences.
            parts: T, the number of test parts.
        """
        none = [None] * t
        return cls(
            accuracy=[*none],
            accuracy_matrix=[[None] * parts for _ in none],
            ridge=[*none],
            train_images=[*none],
            seconds=[*none],
        )

    def with_next(
        self,
        correct: npt.NDArray[np.bool_],
        seen: npt.NDArray[np.bool_],
        part: npt.NDArray[np.int64],
        parts: int,
        ridge: float,
        train_images: int,
        seconds: float,
    ) -> Probe:
        """The same with the probe after one more experience.

        Args:
            correct: (N,) whether it classifies each test image correctly.
            seen: (N,) whether the class of each image was seen.
            part: (N,) the experience whose test part each image is in.
            parts: T, the number of test parts.
            ridge: The penalty, relative to the mean eigenvalue.
            train_images: Training images of the probe.
            seconds: Time of fitting and evaluating it.
        """
        inside = [part == i for i in range(parts)]
        row = [float(correct[of].mean()) if of.any() and seen[of].all() else None for of in inside]
        return Probe(
            accuracy=[*self.accuracy, float(correct[seen].mean()) if seen.any() else None],
            accuracy_matrix=[*self.accuracy_matrix, row],
            ridge=[*self.ridge, ridge],
            train_images=[*self.train_images, train_images],
            seconds=[*self.seconds, seconds],
        )
