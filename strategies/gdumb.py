"""GDumb: a greedy, balanced memory and a network that is trained on it alone (ECCV 2020)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lightning_vision.array_types import Rows
from lightning_vision.data.stream import Experience
from lightning_vision.learning.network import Network
from strategies.remembered_rows import RememberedRows
from strategies.retrain import Retrain


def greedily_balanced(
    kept: Rows, labels: Rows, new: Rows, new_labels: Rows, size: int, generator: np.random.Generator
) -> tuple[Rows, Rows]:
    """The memory after a part of the stream, image by image (Prabhu et al. 2020, algorithm 1).

    An image is taken if its class has fewer than ``size`` / (classes seen so far) images in the memory. Where the memory is
    full, it replaces a random image of the largest class, of several the first by label.

    Args:
        kept: (M,) rows in the memory.
        labels: (M,) their classes.
        new: (N,) rows of the stream, in its order.
        new_labels: (N,) their classes.
        size: The most images in the memory.
        generator: Draws the images that are replaced.

    Returns:
        Rows (M',) and labels (M',), by class.
    """
    held: dict[int, list[int]] = {}
    for row, label in zip(kept.tolist(), labels.tolist(), strict=True):
        held.setdefault(label, []).append(row)
    count = len(kept)
    for row, label in zip(new.tolist(), new_labels.tolist(), strict=True):
        own = held.setdefault(label, [])
        if len(own) >= size / len(held):
            continue
        if count >= size:
            largest = held[max(sorted(held), key=lambda each: len(held[each]))]
            largest.pop(int(generator.integers(len(largest))))
        else:
            count += 1
        own.append(row)
    rows = [(row, label) for label in sorted(held) for row in held[label]]
    found = np.array(rows, dtype=np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


class GDumb(RememberedRows, Retrain):
    r"""Train a network from its initial weights on a greedy, balanced memory alone (GDumb, Prabhu et al., ECCV 2020).

    The memory takes the images of the stream one by one: each class has at most M / (classes seen so far), and where it is full
    an image of the largest class gives way. After each experience' images have been taken, the network starts from its initial
    weights and is trained on the memory only, L = mean CE. It learns nothing from the stream itself, which makes it a reference
    for what a memory of this size is worth.

    Differences from the authors' code:
        - The authors train once, at the end of the stream; here after each experience, so that every experience has its
          accuracy.
        - The authors report the pass with the best *test* accuracy; here it is the last (``restore_best: false``), or the best on
          validation data.
        - Their first pass, at a tenth of the learning rate, comes before the cycles of the schedule. Here it is left out, which makes
          255 passes of their 256; see configs/published/gdumb_cifar10.yaml.

    Args:
        memory_size: M, the most images.
    """

    learns_base = True
    learns_all_seen = False
    may_start_from_base = False

    def __init__(self, memory_size: int = 500) -> None:
        super().__init__(memory_size)

    def before_experience(self, network: Network, experience: Experience) -> None:
        """Go back to the initial weights, and let the memory take the experience's images."""
        super().before_experience(network, experience)
        kept = (self.index.cpu().numpy(), self.label.cpu().numpy())
        generator = np.random.default_rng(self.draw_seed(f"memory of experience {experience.index}"))
        found = greedily_balanced(*kept, experience.indices, experience.labels, self.memory_size, generator)
        self.index, self.label = (torch.as_tensor(each, device=self.index.device) for each in found)

    def rows_to_learn(self, experience: Experience) -> Tensor:
        """The rows in the memory."""
        return self.index
