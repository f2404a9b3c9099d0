"""What a strategy keeps: its state, and the images that it learns from again."""

import torch
from coloured_squares import ColouredSquares

from lightning_vision.data.scenarios import ClassIncremental
from lightning_vision.run.kept_memory import kept_bytes
from strategies import NearestMean, Replay, Retrain


def test_images_count_as_if_they_were_stored() -> None:
    """At equal memory, 5 images of 16 x 16 pixels beside 5 rows, 5 labels and a seed."""
    replay, learned = Replay(), ColouredSquares(stream=ClassIncremental(experiences=3)).stream.experiences[:2]
    assert kept_bytes(replay, learned, 16) == 8, "the seed"
    replay.index = replay.label = torch.arange(5)
    assert kept_bytes(replay, learned, 16) == 5 * 3 * 16 * 16 + 2 * 5 * 8 + 8
    assert kept_bytes(replay, learned, 32) - kept_bytes(replay, learned, 16) == 5 * 3 * (32**2 - 16**2)


def test_one_that_learns_from_all_data_keeps_all_images() -> None:
    experiences = ColouredSquares(stream=ClassIncremental(experiences=3)).stream.experiences
    for learned in (experiences[:1], experiences):
        images = sum(len(experience.indices) for experience in learned)
        strategy = Retrain()
        assert kept_bytes(strategy, learned, 16) == images * 3 * 256 + strategy.memory_bytes()


def test_one_that_keeps_no_images() -> None:
    strategy = NearestMean()
    strategy.sums, strategy.counts = torch.zeros(4, 10).double(), torch.zeros(4, dtype=torch.int64)
    assert kept_bytes(strategy, (), 16) == 4 * 10 * 8 + 4 * 8
