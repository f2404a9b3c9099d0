"""How much a learning strategy keeps of the past, in bytes."""

from __future__ import annotations

from collections.abc import Iterable

from lightning_vision.data.stream import Experience
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy


def kept_bytes(
    strategy: Strategy, learned: Iterable[Experience], image_size: int, network: Network | None = None
) -> int:
    """Bytes of a strategy's state, of the images that it learns from again, and of what is kept beside the backbone's weights.

    Methods are compared at equal memory, so an image counts as if the strategy stored it, 3 bytes a pixel at the size that
    the network is given, although a run reads it from the data.

    Args:
        strategy: The learning strategy.
        learned: The experiences so far.
        image_size: Side of the images in pixels.
        network: Its grafts and its original backbone count.
    """
    memory = strategy.memory()
    images = 0 if memory is None else len(memory)
    if strategy.learns_all_seen:
        images = sum(len(experience.indices) for experience in learned)
    beside = 0 if network is None else sum(value.nbytes for value in network.beside_backbone().values())
    return strategy.memory_bytes() + images * 3 * image_size**2 + beside
