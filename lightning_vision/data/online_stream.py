"""Online streams: every image is learned from once, and the accuracy is measured along the stream of batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightning_vision.array_types import Rows
from lightning_vision.data.stratified_split import deal
from lightning_vision.data.stream import Experience, Stream
from lightning_vision.errors import ConfigError

MEASUREMENTS = 10
"""The number of measurements of an experience, at most and on average, where no distance between them is given."""


def check_online_options(online: bool, evaluate_every: int | None, evaluate_images: int | None) -> None:
    """Refuse values that the options of an online stream cannot have.

    Raises:
        ConfigError: A number is below 1, or a distance is given for a stream that is not online.
    """
    for name, value in (("evaluate_every", evaluate_every), ("evaluate_images", evaluate_images)):
        if value is not None and value < 1:
            raise ConfigError(f"data.stream.{name} must be at least 1, or null, not {value}.")
    if evaluate_every is not None and not online:
        raise ConfigError(
            f"data.stream.evaluate_every is {evaluate_every}, which is for online streams, and data.stream.online is false. "
            "Set data.stream.online to true, or remove evaluate_every."
        )


@dataclass(frozen=True)
class MeasurementPlan:
    """The batches of an online stream after which the accuracy is measured, equally far apart over the whole stream.

    Args:
        batches: The number of batches of each experience; 0 for the base, which is learned before the online stream.
        every: Batches between two measurements.
    """

    batches: tuple[int, ...]
    every: int

    @classmethod
    def of(cls, stream: Stream, every: int | None, batch_size: int) -> MeasurementPlan:
        """The plan of a stream.

        Args:
            stream: The experiences.
            every: Batches between two measurements; None: about ten an experience.
            batch_size: Images of a batch over all processes.

        Raises:
            ConfigError: The stream ends before the first measurement.
        """
        learned = [experience for experience in stream if not experience.is_base]
        batches = tuple(0 if e.is_base else -(-len(e.indices) // batch_size) for e in stream)
        total = sum(batches)
        if every is not None and every > total:
            raise ConfigError(
                f"data.stream.evaluate_every is {every}, but the stream has only {total} {'batch' if total == 1 else 'batches'}, so its "
                f"accuracy would never be measured. Expected at most {total}."
            )
        return cls(batches, every or max(1, -(-total // (MEASUREMENTS * max(1, len(learned))))))

    def measures_after(self, experience: int, batch: int, of: int) -> bool:
        """Whether the accuracy is measured after a batch of an experience, both counted from 0.

        Args:
            experience: Number of the experience.
            batch: Number of the batch.
            of: The number of batches in which the experience is learned. A strategy that learns remembered rows among the new ones,
                or instead of them, has another number than the plan, and is measured after the same shares of the experience.
        """
        before, planned = sum(self.batches[:experience]), self.batches[experience]
        first, last = (before + done * planned // of for done in (batch, batch + 1))
        return last // self.every > first // self.every

    def count(self, experience: int) -> int:
        """The number of measurements within an experience."""
        before = sum(self.batches[:experience])
        return (before + self.batches[experience]) // self.every - before // self.every


def images_before(stream: Stream, experience: Experience) -> int:
    """The number of images of the online stream that come before an experience."""
    return sum(len(each.indices) for each in stream.experiences[: experience.index] if not each.is_base)


def rows_to_measure(rows: Rows, labels: Rows, most: int | None, seed: int) -> Rows:
    """The test images of the measurements: the same at each of them, as many of each class as in the test set.

    Args:
        rows: (N,) the rows of the test set.
        labels: (N,) their classes.
        most: The most images; None: all.
        seed: Draws them.

    Returns:
        (M,) rows, ascending.
    """
    if most is None or most >= len(rows):
        return np.sort(rows)
    share: Sequence[float] = [most / len(rows), 1 - most / len(rows)]
    return np.sort(rows[deal(labels, share, (seed, "measurements")) == 0])
