"""Experience replay (arXiv 1902.10486)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_vision.array_types import Rows
from lightning_vision.data.batch import Batch
from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy
from lightning_vision.seeding import sample_keys


def bottom_k(
    index: Rows, label: Rows, seed: int, *, size: int | None, balanced: bool = False, per_class: int | None = None
) -> npt.NDArray[np.intp]:
    """Select the samples with the smallest keys.

    Every set of ``size`` samples is equally likely, as with reservoir sampling. In contrast to a reservoir, the
    selection does not depend on the order of the samples or on their batches: selecting from former selections and new
    samples gives the same result as selecting from all samples.

    With ``balanced``, the sample with the smallest key of each class is selected first, then the second of each class,
    and so on. Classes have equal numbers as far as they have samples, and keys decide in the last, incomplete round.

    Args:
        index: (N,) distinct rows of the sample table.
        label: (N,) their classes; used only if ``balanced``.
        seed: Seed of the keys.
        size: Maximum number of samples; None for no limit.
        balanced: Select equally many samples of each class.
        per_class: Maximum number of samples per class, if balanced; None for no limit.

    Returns:
        Positions in ``index`` (M,), in ascending order of the indices.
    """
    order = np.argsort(sample_keys(index, seed))
    if balanced:
        grouped = order[np.argsort(label[order], kind="stable")]  # by class, then by key
        counts = np.bincount(label)
        place = np.empty(len(index), dtype=np.int64)  # of each sample within its class
        place[grouped] = np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
        order = order[np.argsort(place[order], kind="stable")]
        order = order if per_class is None else order[place[order] < per_class]
    chosen = order[:size]
    return chosen[np.argsort(index[chosen])]


class Replay(Strategy):
    r"""Train on new images and images from a memory of the past (experience replay, arXiv 1902.10486).

    With a batch B of the new data and ``memory_batch_size`` images M drawn from the memory,

    .. math:: L = (1 - w) \frac{1}{|B|} \sum_{(x,y) \in B} CE(h(f(x)), y)
              + w \frac{1}{|M|} \sum_{(x,y) \in M} CE(h(f(x)), y)

    over the seen classes. While the memory is empty, only the first mean is used. w is ``memory_weight``: with 1/2 and
    \|B\| = \|M\| the loss is the mean over the union of both, as in the paper. Both are one forward pass of the network
    f, h, so batch norm uses them as one batch.

    The memory contains indices (M,) int64 in the sample table, not images: 16 bytes per sample including its class. It
    is updated after each experience, including experience 0:

    - ``reservoir``: a uniform sample of all data so far. It is drawn by bottom-k sampling, the ``memory_size`` samples
      with the smallest hash of (seed, index), so it does not depend on the order of the stream or the number of
      processes, and is the same after a restart.
    - ``class_balanced``: the same within each class, with equal numbers per class. It needs one more pass over the
      labels of each experience, without the network.

    Differences from the paper:
        - The memory is updated at the end of an experience, not after each batch, because there may be several epochs.
          The paper's other memories (ring buffer, k-means, mean of features) are not included.
        - With several processes each uses the same M with its own part of B.

    Args:
        memory_size: Number of samples in the memory.
        per_class: Maximum number of samples per class, instead of ``memory_size`` and ``selection``.
        selection: ``reservoir`` or ``class_balanced``.
        memory_batch_size: Number of memory images in each batch, on each process.
        memory_weight: w, from 0 to 1.
    """

    without_base = "none of its images is remembered"
    index: Tensor  # (M,) int64, ascending: the rows of the sample table that are kept
    label: Tensor  # (M,) int64, their classes; all 0 if the selection does not look at them
    seed: Tensor  # () int64, of the selection: drawn with the run's seed when there is something to select

    def __init__(
        self,
        memory_size: int = 500,
        per_class: int | None = None,
        selection: Literal["reservoir", "class_balanced"] = "reservoir",
        memory_batch_size: int = 32,
        memory_weight: float = 0.5,
    ) -> None:
        super().__init__()
        for name, number in (
            ("memory_size", memory_size),
            ("per_class", per_class),
            ("memory_batch_size", memory_batch_size),
        ):
            if number is not None and number < 1:
                raise ConfigError(f"{type(self).__name__}: expected {name} >= 1, found {number}.")
        if selection not in ("reservoir", "class_balanced"):
            raise ConfigError(f"Expected selection reservoir or class_balanced, found {selection!r}.")
        if not 0 <= memory_weight <= 1:
            raise ConfigError(f"{type(self).__name__}: expected 0 <= memory_weight <= 1, found {memory_weight}.")
        self.size, self.per_class = memory_size if per_class is None else None, per_class
        self.balanced = per_class is not None or selection == "class_balanced"
        self.memory_batch_size, self.memory_weight = memory_batch_size, memory_weight
        self.left_behind = 0
        self.drawn_from = 0  # the number of images that the first batches drew from; 0 outside of that experience
        for name in ("index", "label"):
            self.register_buffer(name, torch.empty(0, dtype=torch.int64))
        self.register_buffer("seed", torch.tensor(-1))

    def check_network(self, network: Network) -> None:
        """Refuse a balanced memory that is smaller than the number of classes."""
        if self.balanced and self.size is not None and self.size < network.num_classes:
            raise ConfigError(
                f"{type(self).__name__}: a class-balanced memory_size of {self.size} is smaller than the number of "
                f"classes, {network.num_classes}. Expected {network.num_classes} or more, or selection: reservoir."
            )

    def before_experience(self, network: Network, experience: Experience) -> None:
        """Drop the memory of a base checkpoint from another run."""
        if experience.index == 0:  # before experience 0 a run has no memory, and another's names rows of another table
            self.left_behind, self.index, self.label = len(self.index), self.index[:0], self.label[:0]
            self.seed = torch.full_like(self.seed, -1)

    def memory(self) -> Tensor | None:
        """The indices in the memory."""
        return self.index if len(self.index) else None

    def loss(self, network: Network, batch: Batch) -> Tensor:
        """(1 - w) CE over the batch + w CE over the memory."""
        memory = batch.get("memory")
        if memory is None:
            return super().loss(network, batch)
        w, sizes = self.memory_weight, [len(batch["label"]), len(memory["label"])]
        new, old = network(torch.cat([network.inputs(batch), network.inputs(memory)])).split(sizes)
        return (1 - w) * self.cross_entropy(network, new, batch) + w * self.cross_entropy(network, old, memory)

    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        """Select the memory from its samples and those of the experience."""
        self.drawn_from = len(self.index) if experience.index == 1 else 0
        if self.seed < 0:
            self.seed = torch.randint(2**62, (), device="cpu").to(self.seed.device)
        rows = torch.as_tensor(experience.indices.copy(), device=self.index.device)
        index = torch.cat([self.index, rows])
        label = torch.cat([self.label, self._labels(rows, batches)])
        chosen = bottom_k(
            index.cpu().numpy(),
            label.cpu().numpy(),
            int(self.seed),
            size=self.size,
            balanced=self.balanced,
            per_class=self.per_class,
        )
        kept = torch.as_tensor(chosen, device=index.device)
        self.index, self.label = index[kept], label[kept]

    def _labels(self, rows: Tensor, batches: Iterable[Batch]) -> Tensor:
        """The labels (N,) of an experience's rows (N,), on every process; zeros if they are not needed."""
        labels = torch.zeros_like(rows)
        if not self.balanced:
            return labels
        ascending, order = rows.sort()
        for batch in batches:
            labels[order[torch.searchsorted(ascending, batch["index"])]] = batch["label"]
        return self.reduce(labels)

    def notes(self, network: Network) -> list[str]:
        """Report once that the memory of a base checkpoint was dropped, and that the memory is smaller than what is drawn from it."""
        said = []
        if self.left_behind:
            said.append(
                f"The base checkpoint's memory of {self.left_behind} image(s) was dropped, because it refers to rows of that run's "
                "data."
            )
        if 0 < self.drawn_from < self.memory_batch_size:
            said.append(
                f"The memory held {self.drawn_from} image(s), fewer than memory_batch_size, {self.memory_batch_size}: they were drawn "
                "with replacement."
            )
        self.left_behind = 0
        return said
