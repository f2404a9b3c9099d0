"""What the strategies share whose memory is filled batch by batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from lightning_vision.data.batch import Batch
from lightning_vision.data.reservoir import Reservoir
from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import ExperienceData, Strategy
from strategies.remembered_rows import check_one_per_class


class StepMemory(Strategy):
    """A memory of rows of the sample table that is filled after each step: a reservoir of the images that were learned.

    A subclass calls ``remember`` in ``loss``, before it looks at what it keeps of the memory's images. Where gradients are
    accumulated, the memory is filled after each batch, because images are drawn from it for each batch. Each epoch offers each
    image again, so that with several epochs an image may be in several places, as in the published codes. A base from a
    checkpoint, which this run has not learned, fills the memory once, in the stream's order.

    Args:
        memory_size: Number of places, M.
        memory_batch_size: Number of memory images in each batch, on each process.
        cross_entropy: Among which classes: ``all`` of the stream from the start, or those ``seen`` so far.
    """

    without_base = "none of its images is remembered"
    learns_base = True
    rows: Tensor  # (M,) int64, the row of the sample table in each place; -1: empty
    offered: Tensor  # () int64, the images that were offered

    def __init__(
        self, memory_size: int = 500, memory_batch_size: int = 32, cross_entropy: Literal["all", "seen"] = "all"
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if memory_batch_size < 1:
            raise ConfigError(f"{name}: expected memory_batch_size >= 1, found {memory_batch_size}.")
        if memory_size < memory_batch_size:
            raise ConfigError(
                f"{name}: the memory has {memory_size} places, fewer than the {memory_batch_size} images that each batch takes "
                "from it. Expected memory_size >= memory_batch_size."
            )
        if cross_entropy not in ("all", "seen"):
            raise ConfigError(f"{name}: expected cross_entropy all or seen, found {cross_entropy!r}.")
        self.memory_size, self.memory_batch_size = memory_size, memory_batch_size
        self.over_all = cross_entropy == "all"
        self.register_buffer("rows", torch.full((memory_size,), -1))
        self.register_buffer("offered", torch.tensor(0))
        self._learned: list[tuple[Tensor, ...]] = []

    def check_network(self, network: Network) -> None:
        """Refuse a memory that cannot hold one image of each class."""
        check_one_per_class(self, self.memory_size, network)

    def before_experience(self, network: Network, experience: Experience) -> None:
        """Drop the memory of a base checkpoint from another run."""
        if experience.index == 0:  # before experience 0 a run has no memory, and another's names rows of another table
            self.rows.fill_(-1)
            self.offered.zero_()

    def among(self, network: Network) -> Tensor:
        """The classes (C,) of the cross entropy."""
        return torch.ones_like(network.seen) if self.over_all else network.seen

    def reservoir(self) -> Reservoir:
        """The memory as it stands after the last step."""
        return Reservoir(self.rows.cpu().numpy(), int(self.offered), self.draw_seed("reservoir"))

    def memory(self) -> Tensor | None:
        """The rows in the memory, each once."""
        held = torch.unique(self.rows[self.rows >= 0])
        return held if len(held) else None

    def remember(self, batch: Batch, *values: Tensor) -> None:
        """Keep what ``after_step`` writes into the places that the batch's images take: their rows, and further values (B, ...).

        A batch that had no step yet, because gradients are accumulated, is written now: this one's memory was drawn after it.
        """
        self._write()
        count = batch["valid"].sum()
        self._learned.append((count, batch["place"], batch["index"], *(value.detach() for value in values)))

    def after_step(self, network: Network) -> None:
        """Write the batch of the step into the memory, on all processes."""
        self._write()

    def _write(self) -> None:
        """Write what is kept into the memory."""
        for count, places, rows, *values in self._learned:
            self.offered += self.reduce(count)
            self.rows = self.put(self.rows, places, rows)
            self.keep(places, *values)
        self._learned = []

    def keep(self, places: Tensor, *values: Tensor) -> None:
        """Write the further values of ``remember`` into buffers of the subclass."""

    def put(self, kept: Tensor, places: Tensor, values: Tensor) -> Tensor:
        """A buffer (M, ...) with the values (B, ...) of all processes in the places (B,) that they take (-1: none)."""
        end = len(kept)  # one row more, for images that take no place: to leave them out would wait for the device
        rows = torch.where(places >= 0, places, end)
        new, taken = kept.new_zeros(end + 1, *kept.shape[1:]), torch.zeros(end + 1, device=kept.device)
        new[rows] = values.to(kept.dtype)
        taken[rows] = 1
        new, taken = self.reduce(new[:end]), self.reduce(taken[:end])
        return torch.where((taken > 0).view(-1, *[1] * (kept.dim() - 1)), new, kept)

    @torch.no_grad()
    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        """Fill the memory with a base that this run has not learned."""
        if not experience.is_base or self.offered > 0:
            return
        _, after = self.reservoir().offer(experience.indices)
        self.rows = torch.as_tensor(after.rows, device=self.rows.device)
        self.offered.fill_(after.offered)
        self.fill(network, batches)

    def fill(self, network: Network, batches: Iterable[Batch] | ExperienceData) -> None:
        """Fill the further buffers of the subclass for the rows in the memory, from the base's data."""
