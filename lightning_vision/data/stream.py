"""The stream: experiences in their order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lightning_vision.array_types import Rows


@dataclass(frozen=True, eq=False)
class Experience:
    """A part of the training data that arrives together. Rows are positions in the sample table."""

    index: int
    name: str
    is_base: bool
    """The classifier is first trained here, by the base strategy."""
    classes: tuple[int, ...]
    """In its training data, ascending."""
    new_classes: tuple[int, ...]
    """Those that no experience before it had."""
    seen_classes: tuple[int, ...]
    """Those of this experience and all before it."""
    indices: Rows
    """(N,) int64, its training rows in the stream's order."""
    val_indices: Rows
    test_indices: Rows


@dataclass(frozen=True, eq=False)
class Stream:
    """The ordered experiences."""

    scenario: str
    experiences: tuple[Experience, ...]
    full_matrix: bool
    """Every test part can be evaluated after every experience: no class of it is still to come."""
    hash: str
    """sha256 over the experiences' rows, by path and label, in order."""

    def __len__(self) -> int:
        return len(self.experiences)

    def __iter__(self) -> Iterator[Experience]:
        return iter(self.experiences)

    def __getitem__(self, index: int) -> Experience:
        return self.experiences[index]
