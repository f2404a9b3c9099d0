"""What results.json says of the linear probe."""

from __future__ import annotations

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
        self, accuracy: float | None, row: list[float | None], ridge: float, train_images: int, seconds: float
    ) -> Probe:
        """The same with the probe after one more experience.

        Args:
            accuracy: On the test images of the classes seen.
            row: (T,) on each test part.
            ridge: The penalty, relative to the mean eigenvalue.
            train_images: Training images of the probe.
            seconds: Time of fitting and evaluating it.
        """
        return Probe(
            accuracy=[*self.accuracy, accuracy],
            accuracy_matrix=[*self.accuracy_matrix, row],
            ridge=[*self.ridge, ridge],
            train_images=[*self.train_images, train_images],
            seconds=[*self.seconds, seconds],
        )
