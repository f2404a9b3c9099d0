"""Temporarily restore the classifier of an earlier experience of its run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_vision.data.stream import Stream
from lightning_vision.learning.checkpoints import check_fits, check_same_strategies, read_checkpoint
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.results.run_directory import RunDirectory


def earlier_checkpoints(path: Path, experience: int, which: str) -> list[tuple[int, Path]]:
    """The kept checkpoints of a run from before a checkpoint, by experience.

    Args:
        path: The checkpoint, in the folder of its run.
        experience: Its experience.
        which: ``base``: the first that was kept; ``all``: every one.
    """
    kept = [
        (int(found.stem.removeprefix("experience=")), found)
        for found in RunDirectory(path.parent.parent).all_finished()
    ]
    before = [(number, found) for number, found in kept if number < experience]
    return before[:1] if which == "base" else before


@contextmanager
def as_it_was(model: ContinualClassifier, path: Path, stream: Stream) -> Iterator[None]:
    """Load the weights and the state of an earlier checkpoint, and restore the model's own, bitwise, on exit.

    Raises:
        CheckpointError: The checkpoint belongs to another model.
    """
    checkpoint = read_checkpoint(path)
    check_fits(checkpoint, model, path)
    check_same_strategies(checkpoint, model, path)
    identity, state = checkpoint["lightning_vision"], checkpoint["state_dict"]
    own = {name: value.clone() for name, value in model.state_dict().items()}
    experience, picked = model.experience, model.picked_variant
    strategies = {"strategy.": model.strategy, "base_strategy.": model.base_strategy}
    buffers = {prefix: dict(strategy.named_buffers(recurse=False)) for prefix, strategy in strategies.items()}
    try:
        for prefix, strategy in strategies.items():
            for name in buffers[prefix]:
                if prefix + name in own and prefix + name not in state:  # it was empty then
                    setattr(strategy, name, None)
        # A teacher or a copy that a strategy made since is not in it; none is needed to predict.
        model.load_state_dict(state, strict=False)
        model.experience = stream[min(int(identity["experience"]), len(stream) - 1)]
        model.picked_variant = identity["picked_variant"]
        yield
    finally:
        for prefix, strategy in strategies.items():
            for name, buffer in buffers[prefix].items():
                setattr(strategy, name, buffer)
        model.load_state_dict(own)
        model.experience, model.picked_variant = experience, picked
