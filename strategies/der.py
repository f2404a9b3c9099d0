"""Dark Experience Replay from a memory that is filled batch by batch (arXiv 2004.07211)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor

from lightning_vision.data.batch import Batch
from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import ExperienceData
from strategies.dark_experience_replay import logit_distance
from strategies.step_memory import StepMemory


class DER(StepMemory):
    r"""Dark Experience Replay as published: logits are stored at the step that learns an image (DER, arXiv 2004.07211).

    On a batch B of the new data and images M of the memory with their stored logits z (C,),

    .. math:: L = \frac{1}{|B|} \sum_{(x,y) \in B} CE(h(x), y)
              + \alpha \frac{1}{|M|} \sum_{(x,z) \in M} \frac{1}{C} \lVert h(x) - z \rVert^2

    h(x) (C,) are the network's logits and CE is over all C classes of the stream. z are the logits of the step that put the image
    into the memory, before the step, in training mode and of the augmented image. The memory is a reservoir, filled after
    each step: 8 + 4 C bytes an image. B and M are two forward passes. :class:`strategies.DarkExperienceReplay` fills its memory
    after each experience.

    CE over classes that have not been seen makes their logits small for all images, and the distance keeps them small for the
    remembered ones when these classes come. With ``cross_entropy: seen``, which need not know the stream's classes, forgetting is
    larger: see docs/strategies.md.

    Differences from the paper:
        - With a base from a checkpoint, z of its images are computed at its end, without augmentation.
        - MixUp and CutMix (``data.batch_transforms``) are not in the paper, and do not suit it: z is then of the mixed image.

    Args:
        memory_size: Number of places, M.
        memory_batch_size: Number of memory images in each batch, on each process.
        alpha: Weight of the distance of the logits, 0 or more.
        cross_entropy: ``all``: over all classes of the stream from the start, as in the authors' code. ``seen``: over those seen so
            far.
    """

    EARLIER_DEFAULTS: ClassVar[Mapping[str, object]] = {"cross_entropy": "seen"}
    logits: Tensor  # (M, C) float32, of the images in their places

    def __init__(
        self,
        memory_size: int = 500,
        memory_batch_size: int = 32,
        alpha: float = 0.1,
        cross_entropy: Literal["all", "seen"] = "all",
    ) -> None:
        super().__init__(memory_size, memory_batch_size, cross_entropy)
        if not alpha >= 0:
            raise ConfigError(f"{type(self).__name__}: expected alpha >= 0, found {alpha}.")
        self.alpha = alpha
        self.register_buffer("logits", torch.empty(0))

    def before_experience(self, network: Network, experience: Experience) -> None:
        """As ``StepMemory``; an empty memory has no logits."""
        super().before_experience(network, experience)
        if experience.index == 0:
            self.logits = torch.zeros(self.memory_size, network.num_classes, device=network.seen.device)

    def loss(self, network: Network, batch: Batch) -> Tensor:
        """CE over the batch + alpha distance of the memory's logits."""
        z = network(batch)
        self.remember(batch, z)
        loss = self.cross_entropy(network, z, batch, self.among(network))
        memory = batch.get("memory")
        return loss if memory is None else loss + self.of_memory(network, memory)

    def of_memory(self, network: Network, memory: Batch) -> Tensor:
        """The terms of the remembered images."""
        return self.alpha * logit_distance(network(memory), self.logits[memory["place"]])

    def keep(self, places: Tensor, *values: Tensor) -> None:
        """Store the logits of the images that take a place."""
        self.logits = self.put(self.logits, places, *values)

    def fill(self, network: Network, batches: Iterable[Batch] | ExperienceData) -> None:
        """Compute the logits of remembered images of the base."""
        self.logits.zero_()
        held = self.rows.unsqueeze(0)
        for batch in batches:
            image, place = (batch["index"].unsqueeze(1) == held).nonzero(as_tuple=True)
            if len(image):
                self.logits[place] = network(network.inputs(batch)[image]).to(self.logits)
        self.logits = self.reduce(self.logits)


class DERpp(DER):
    r"""Dark Experience Replay with the labels of the memory (DER++, arXiv 2004.07211).

    The loss of :class:`strategies.DER`, and CE over a second, independent draw M' of the memory:

    .. math:: L = L_{DER} + \beta \frac{1}{|M'|} \sum_{(x,y) \in M'} CE(h(x), y)

    Args:
        memory_size: Number of places, M.
        memory_batch_size: Number of images of each of both draws, on each process.
        alpha: Weight of the distance of the logits, 0 or more.
        beta: Weight of the memory's cross entropy, 0 or more.
        cross_entropy: Of both terms, over ``all`` classes of the stream or those ``seen`` so far, as in ``DER``.
    """

    memory_draws = 2

    def __init__(
        self,
        memory_size: int = 500,
        memory_batch_size: int = 32,
        alpha: float = 0.1,
        beta: float = 0.5,
        cross_entropy: Literal["all", "seen"] = "all",
    ) -> None:
        super().__init__(memory_size, memory_batch_size, alpha, cross_entropy)
        if not beta >= 0:
            raise ConfigError(f"DERpp: expected beta >= 0, found {beta}.")
        self.beta = beta

    def of_memory(self, network: Network, memory: Batch) -> Tensor:
        """Alpha distance of the first draw's logits + beta CE over the second draw."""
        first, second = halves(memory)
        labelled = self.cross_entropy(network, network(second), second, self.among(network))
        return super().of_memory(network, first) + self.beta * labelled


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """The first and the second half of the images of a batch."""
    half = len(batch["label"]) // 2
    parts = ({key: value[part] for key, value in batch.items()} for part in (slice(half), slice(half, None)))  # type: ignore[index] # tensors alone
    first, second = (cast(Batch, part) for part in parts)
    return first, second
