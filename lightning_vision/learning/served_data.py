"""The data that a strategy is trained on in an experience."""

from __future__ import annotations

from typing import Unpack

import numpy as np

from lightning_vision.data.stream import Experience
from lightning_vision.data.stream_loaders import HowEntered
from lightning_vision.learning.strategy import Strategy


def data_for(learner: Strategy, experience: Experience, **further: Unpack[HowEntered]) -> HowEntered:
    """How a datamodule serves an experience to a strategy, as the strategy declares it.

    Args:
        learner: The strategy.
        experience: The experience.
        **further: What is beside it, such as the first epoch.
    """
    rows = learner.rows_to_learn(experience)
    how = HowEntered(
        shuffle=learner.kind == "gradient",
        memory=learner.memory(),
        memory_size=learner.memory_batch_size,
        reservoir=None if learner.reservoir() is None else learner.reservoir,
        memory_draws=learner.memory_draws,
        all_seen=learner.learns_all_seen,
        rows=None if rows is None else rows.detach().cpu().numpy().astype(np.int64),
    )
    how.update(further)
    return how
