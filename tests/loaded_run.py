"""A finished run's model and data, as the program hands them to ``export``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from coloured_squares import ColouredSquares

from lightning_vision.class_path import class_path
from lightning_vision.data.scenarios import InstanceIncremental
from lightning_vision.learning.checkpoints import find_checkpoint, load_into, read_checkpoint
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.strategy import Strategy

SIDE = 16


def squares(**options: Any) -> ColouredSquares:
    """Four classes of coloured squares in three experiences."""
    return ColouredSquares(**{"stream": InstanceIncremental(experiences=3), "eval_transforms": "resize", **options})


def classifier(
    strategy: Strategy | None = None, class_names: Sequence[str] = ("red", "green", "blue", "grey"), **options: Any
) -> ContinualClassifier:
    """A small classifier in evaluation mode that no experience was shown to; seeded."""
    torch.manual_seed(0)
    made = {
        "backbone": "test_resnet",
        "pretrained": False,
        "class_names": list(class_names),
        "image_size": SIDE,
        **options,
    }
    return ContinualClassifier(strategy=strategy, **made).eval()


def load(run: Path, data: ColouredSquares, strategy: Strategy) -> tuple[ContinualClassifier, Path, int]:
    """The classifier of a run's last checkpoint, the checkpoint's path, and its experience."""
    path = find_checkpoint(run)
    checkpoint = read_checkpoint(path)
    facts = checkpoint["lightning_vision"]
    assert facts["strategy"] == class_path(strategy)
    model = classifier(strategy, data.class_names)
    return model, path, load_into(model, data.stream, checkpoint, path)
