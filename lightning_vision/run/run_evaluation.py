"""The batches of an experience, as strategies are given them after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lightning_vision.data.batch import Batch
from lightning_vision.data.stream import Experience


class Batches:
    """The batches that ``after_experience`` is given: loaded only if they are iterated over, and as often as they are."""

    def __init__(self, make: Callable[[Experience], Iterator[Batch]], experience: Experience) -> None:
        self.make, self.experience = make, experience

    def __iter__(self) -> Iterator[Batch]:
        return self.make(self.experience)
