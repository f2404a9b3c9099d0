"""The checkpoints that a run kept from earlier experiences, loaded into its classifier for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_vision.data.stream import Stream
from lightning_vision.errors import CheckpointError
from lightning_vision.learning.checkpoint_identity import replay_grafts
from lightning_vision.learning.checkpoints import check_fits, check_same_strategies, read_checkpoint
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.results.run_directory import RunDirectory

STRATEGIES = ("strategy.", "base_strategy.")
"""Prefixes of the state that a strategy may have filled or dropped since."""


@dataclass(frozen=True)
class Kept:
    """A checkpoint of the run."""

    path: Path
    experience: int


def earlier_checkpoints(path: Path, experience: int) -> list[Kept]:
    """The kept checkpoints of experiences before a checkpoint's, in the stream's order.

    Args:
        path: The checkpoint, in the folder of its run.
        experience: Its experience.
    """
    finished = RunDirectory(path.parent.parent).all_finished()
    numbered = [Kept(found, int(found.stem.removeprefix("experience="))) for found in finished]
    return [kept for kept in numbered if kept.experience < experience and kept.path.resolve() != path.resolve()]


@contextmanager
def as_it_was(model: ContinualClassifier, path: Path, stream: Stream) -> Iterator[None]:
    """Load the weights and the state of an earlier checkpoint, and restore the model's own, bitwise, on exit.

    Args:
        model: The classifier, at a later experience of the same run.
        path: The earlier checkpoint.
        stream: The stream of the classifier's data.

    Raises:
        CheckpointError: The checkpoint belongs to another model.
    """
    checkpoint = read_checkpoint(path)
    check_fits(checkpoint, model, path)
    check_same_strategies(checkpoint, model, path)
    identity, state = checkpoint["lightning_vision"], checkpoint["state_dict"]
    own_identity = model.identity()
    own = {name: value.clone() for name, value in model.state_dict().items()}
    experience, picked = model.experience, model.picked_variant
    held = [
        (prefix + name, tensors, dict(tensors))
        for prefix in STRATEGIES
        for name, module in getattr(model, prefix.removesuffix(".")).named_modules()
        for tensors in (module._buffers, module._parameters)
    ]
    try:
        _empty(held, own, state)
        replay_grafts(model.network, identity)
        _load(model, state, path)
        model.experience = stream.reached(int(identity["experience"]), bool(identity["is_base"]))
        model.picked_variant = identity["picked_variant"]
        yield
    finally:
        for _, tensors, values in held:
            tensors.update(values)
        replay_grafts(model.network, own_identity)
        model.load_state_dict(own)
        model.experience, model.picked_variant = experience, picked


def _empty(
    held: list[tuple[str, dict[str, Any], dict[str, Any]]], own: dict[str, Tensor], state: dict[str, Tensor]
) -> None:
    """Set the strategies' buffers and parameters to None that were filled after the checkpoint was written."""
    for prefix, tensors, values in held:
        for name in values:
            key = f"{prefix.removesuffix('.')}.{name}"
            if key in own and key not in state:
                tensors[name] = None


def _load(model: ContinualClassifier, state: dict[str, Tensor], path: Path) -> None:
    """Load the state; a teacher or a copy that a strategy made or dropped since is not needed to predict.

    Raises:
        CheckpointError: Weights of the network are missing or have another shape.
    """
    try:
        differing = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit this model: {' '.join(str(error).split())[:300]}") from error
    network = [key for key in (*differing.missing_keys, *differing.unexpected_keys) if not key.startswith(STRATEGIES)]
    if network:
        raise CheckpointError(f"{path} does not fit this model: {network[0]} is only in one of the two.")
