"""The batches that strategies receive after an experience."""

from __future__ import annotations

from collections.abc import Iterator

from lightning.fabric.utilities import move_data_to_device

from lightning_vision.data.batch import Batch
from lightning_vision.data.stream import Experience
from lightning_vision.run.run_context import RunContext


class ExperienceBatches:
    """The batches for ``after_experience``: in the stream's order, on the device, without augmentation.

    Each iteration loads them; nothing is loaded before.
    """

    def __init__(self, context: RunContext, experience: Experience) -> None:
        self.context, self.experience = context, experience

    def __iter__(self) -> Iterator[Batch]:
        context, process = self.context, self.context.process
        context.features.compute(self.experience.indices)
        for batch in context.datamodule.ordered_loader(self.experience.index, process.rank, process.world_size):
            moved: Batch = move_data_to_device(batch, process.device)
            if moved["valid"].any():
                yield context.model.on_after_batch_transfer(moved, 0)
