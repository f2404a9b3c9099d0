"""The stream: an ordered list of experiences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from lightning_vision.array_types import Rows
from lightning_vision.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Experience:
    """A part of the training data that arrives together. Rows are positions in the sample table."""

    index: int
    name: str
    is_base: bool
    """The base strategy trains the classifier on it first."""
    classes: tuple[int, ...]
    """The labels in its training data, ascending."""
    new_classes: tuple[int, ...]
    """The labels that no earlier experience has."""
    seen_classes: tuple[int, ...]
    """The labels of this experience and all earlier ones."""
    indices: Rows
    """(N,) int64, its training rows in the stream's order."""
    val_indices: Rows
    test_indices: Rows
    labels: Rows = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """(N,) int64, the label of each training row."""

    def place(self, epoch: int) -> str:
        """The position of an epoch in the stream, for a message that begins with its batch."""
        return f" of epoch {epoch} of experience {self.index} ({self.name})"


@dataclass(frozen=True, eq=False)
class Stream:
    """The ordered experiences."""

    scenario: str
    experiences: tuple[Experience, ...]
    full_matrix: bool
    """Every test part can be evaluated after every experience: all its classes have been seen."""
    hash: str
    """A SHA-256 over the experiences' rows, by path and label, in order."""

    def experience(self, number: int) -> Experience:
        """An experience by its position.

        Raises:
            ConfigError: There is none at this position.
        """
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or not 0 <= number < len(self):
            raise ConfigError(f"Expected the number of an experience, from 0 to {len(self) - 1}, found {number!r}.")
        return self.experiences[number]

    def without_base(self) -> Stream:
        """The same stream for a strategy that learns experience 0 itself."""
        return replace(self, experiences=tuple(replace(each, is_base=False) for each in self.experiences))

    def on_validation(self, first: int) -> Stream:
        """The same stream for choosing options: the first experiences are tested on their validation images, others on none.

        Args:
            first: How many experiences may be looked at.

        Raises:
            ConfigError: The stream has fewer, or they have no validation images.
        """
        if first > len(self):
            raise ConfigError(f"tune_on: expected at most the {len(self)} experiences of the stream, found {first}.")
        none = np.empty(0, dtype=np.int64)
        tried = tuple(
            replace(each, test_indices=each.val_indices if each.index < first else none) for each in self.experiences
        )
        if not sum(len(each.test_indices) for each in tried):
            raise ConfigError(
                "tune_on needs validation images, and the first experiences have none: set data.val_fraction above 0."
            )
        return replace(self, experiences=tried)

    def reached(self, number: int, is_base: bool | None = None) -> Experience:
        """The experience that a checkpoint has reached, which may lie beyond this stream, as with new data to predict.

        One beyond the end is like the last, without new classes.

        Args:
            number: Its position, from 0 on.
            is_base: As the checkpoint says; None: as the stream says, and no base beyond its end.
        """
        if number < len(self):
            found = self.experiences[number]
            return found if is_base in (None, found.is_base) else replace(found, is_base=bool(is_base))
        return replace(self.experiences[-1], index=number, is_base=bool(is_base), new_classes=())

    def rows_to_evaluate(self, part: Literal["val", "test"], up_to: int | None = None) -> Rows:
        """The rows of the validation or test parts of experiences 0 to ``up_to`` (None: of all) together, ascending."""
        experiences = self.experiences[: None if up_to is None else up_to + 1]
        rows = [item.val_indices if part == "val" else item.test_indices for item in experiences]
        return np.sort(np.concatenate(rows))

    def __len__(self) -> int:
        return len(self.experiences)

    def __iter__(self) -> Iterator[Experience]:
        return iter(self.experiences)

    def __getitem__(self, index: int) -> Experience:
        return self.experiences[index]
