"""The batches that strategies receive after an experience."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from lightning_vision.array_types import Rows
from lightning_vision.data.batch import Batch
from lightning_vision.data.stream import Experience
from lightning_vision.run.run_context import RunContext


class ExperienceBatches:
    """The batches for ``after_experience``: in the stream's order, on the device, without augmentation.

    Each iteration loads them; nothing is loaded before.

    Args:
        context: The run.
        experience: The experience that was learned.
        rows: (M,) rows of the sample table in place of the experience's training data.
    """

    def __init__(self, context: RunContext, experience: Experience, rows: Rows | None = None) -> None:
        self.context, self.experience = context, experience
        self.rows = experience.indices if rows is None else rows

    def of(self, rows: Tensor) -> ExperienceBatches:
        """The batches of other rows (M,)."""
        return ExperienceBatches(self.context, self.experience, rows.detach().cpu().numpy().astype(np.int64))

    def __iter__(self) -> Iterator[Batch]:
        context, process = self.context, self.context.process
        context.features.compute(self.rows)
        for batch in context.datamodule.ordered_loader(
            self.experience.index, process.rank, process.world_size, self.rows
        ):
            moved: Batch = move_data_to_device(batch, process.device)
            if moved["valid"].any():
                yield context.model.on_after_batch_transfer(moved, 0)
