"""The Trainer of a stream run."""

from __future__ import annotations

from lightning.pytorch import Trainer


class RunTrainer(Trainer):
    """A Trainer of a stream run, in which the run chooses what the classifier learns.

    With any other Trainer the classifier learns the datamodule's current experience.
    """
