"""A stage: a part of an experience's training with a Trainer of its own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A part of the training of an experience, with a Trainer, an optimizer and a scheduler of its own."""

    name: str = ""
    """The learner's stage, one of ``Strategy.stages``."""
    part: str = ""
    """The part that a recipe made of it, for messages: "fix", "2 of 4"."""
    epochs: int | None = None
    """None: ``trainer.max_epochs``, or ``model.base_epochs`` for the base."""
    augment: bool = True
    """False: the training images, shuffled, with the evaluation transform."""
    base_statistics: bool = False
    """A closed form gathers the statistics of the base's data; no recipe sees such a stage."""

    @property
    def title(self) -> str:
        """Name and part, for the progress and messages."""
        return ", ".join(word for word in (self.name, self.part) if word)
