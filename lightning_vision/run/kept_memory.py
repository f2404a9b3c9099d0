"""How much a learning strategy keeps of the past, in bytes."""

from __future__ import annotations

from collections.abc import Iterable

from lightning_vision.data.stream import Experience
from lightning_vision.learning.strategy import Strategy


def kept_bytes(strategy: Strategy, learned: Iterable[Experience], image_size: int) -> int:
    """Bytes of a strategy's state, and of the images that it learns from again.

    Methods are compared at equal memory, so an image counts as if the strategy stored it, 3 bytes a pixel at the size that
    the network is given, although a run reads it from the data.

    Args:
        strategy: The learning strategy.
        learned: The experiences so far.
        image_size: Side of the images in pixels.
    """
    memory = strategy.memory()
    images = 0 if memory is None else len(memory)
    if strategy.learns_all_seen:
        images = sum(len(experience.indices) for experience in learned)
    return strategy.memory_bytes() + images * 3 * image_size**2
