"""The identity that a checkpoint holds: what its weights fit, and from which experience they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from lightning_vision.class_path import class_path
from lightning_vision.data.process_group import gather_from_processes
from lightning_vision.data.stream import Experience
from lightning_vision.errors import CheckpointError, ConfigError
from lightning_vision.former_names import present_path
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy

WHOLE_SCHEMA = 1
"""Schema of checkpoints that hold all weights."""
NAMING_SCHEMA = 2
"""Schema of checkpoints that take frozen weights from another file, which earlier versions cannot do."""
GRAFTED_SCHEMA = 3
"""Schema of checkpoints of a backbone with grafts, or with a copy of the original backbone."""
CHECKPOINT_SCHEMA = GRAFTED_SCHEMA
"""The newest schema that can be read. It increases when an older version could no longer read a checkpoint."""
FROZEN = "lightning_vision_frozen"
"""A checkpoint's entry about the weights that it takes from another file: the file's name and theirs."""
SUMS = ("train_loss.", "train_accuracy.")
"""Prefixes of the state keys that hold the sums of one process over an epoch."""
SUMMANDS = "lightning_vision_summands"
"""A checkpoint's entry with what each process contributed to those sums."""


class Identified(Protocol):
    """The attributes that form a classifier's identity."""

    network: Network
    strategy: Strategy
    base_strategy: Strategy
    experience: Experience | None
    class_names: list[str]
    image_size: int
    picked_variant: str

    @property
    def seed(self) -> int:
        """Of the run."""


def identity_of(model: Identified) -> dict[str, Any]:
    """What must be equal for weights to fit, and from which experience they are, as plain values."""
    network, experience = model.network, model.experience
    return {
        "schema": WHOLE_SCHEMA,
        **_changes_of(network),
        "backbone": network.facts.name,
        "head": [list(p.shape) for p in network.head.parameters()],
        "class_names": list(model.class_names),
        "image_size": model.image_size,
        "mean": [float(value) for value in network.facts.mean],
        "std": [float(value) for value in network.facts.std],
        "strategy": class_path(model.strategy),
        "base_strategy": class_path(model.base_strategy),
        "experience": experience.index if experience is not None else -1,
        "picked_variant": model.picked_variant,
        "seed": model.seed,
        "is_base": bool(experience is not None and experience.is_base),
    }


def _changes_of(network: Network) -> dict[str, Any]:
    """What was set into the backbone and kept of it; empty of a backbone as it was built."""
    if not network.grafts and network.original is None:
        return {}
    return {
        "schema": GRAFTED_SCHEMA,
        "grafts": [{**graft, "options": dict(graft["options"])} for graft in network.grafts],
        "keeps_original": network.original is not None,
    }


def announce_grafts(network: Network, identity: Mapping[str, Any]) -> None:
    """Let the strategies that are checked next know of the grafts of a base, which is loaded later.

    Raises:
        CheckpointError: They cannot be set here.
    """
    for graft in identity.get("grafts", []):
        with _cannot_be_set():
            network.check_graft(graft["kind"], graft["key"], **graft["options"])


@contextmanager
def _cannot_be_set() -> Iterator[None]:
    """The message for a graft of a checkpoint."""
    try:
        yield
    except (ConfigError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"The checkpoint has a graft in its backbone that cannot be set here: {error} If a package brings the kind, install "
            "it, or import the module that calls register_graft."
        ) from error


def replay_grafts(network: Network, identity: Mapping[str, Any]) -> None:
    """Give a network the grafts of a checkpoint and no others, and a copy of the original backbone if it has one.

    Their weights are loaded afterwards.

    Raises:
        CheckpointError: They cannot be set.
    """
    saved = list(identity.get("grafts", []))
    while network.grafts != saved[: len(network.grafts)]:
        network.take_out(network.grafts[-1]["key"])
    for graft in saved[len(network.grafts) :]:
        with _cannot_be_set():
            network.graft(graft["kind"], graft["key"], **graft["options"])
    if not identity.get("keeps_original", False):
        network.original = None
    else:
        network.keep_original()


def check_loadable(checkpoint: Mapping[str, Any], here: Mapping[str, Any], state_keys: Sequence[str]) -> None:
    """Refuse a checkpoint that Lightning is about to load and that does not fit.

    Args:
        checkpoint: What the file holds.
        here: The identity of the classifier.
        state_keys: The keys of the classifier's state.

    Raises:
        CheckpointError: It was written by another program, for another network or classes, or with another strategy, or it
            does not hold all weights.
    """
    saved = checkpoint.get("lightning_vision")
    if saved is None:
        raise CheckpointError(
            "The checkpoint was not written by lightning_vision. Weights of a bare backbone are given as backbone_weights."
        )
    if FROZEN in checkpoint:
        raise CheckpointError(
            f"The checkpoint holds only what was trained; the frozen weights of its backbone are in {checkpoint[FROZEN]['file']} "
            "beside it, which Lightning does not read. Use lightning_vision.open_run(DIRECTORY).classifier(), or the first or "
            "the last checkpoint of the run, which hold all weights."
        )
    differing = [
        f"  {key}: {shortened(saved.get(key))} in the checkpoint, {shortened(here[key])} here"
        for key in ("backbone", "image_size", "mean", "std", "class_names", "head")
        if saved.get(key) != here[key]
    ]
    if differing:
        raise CheckpointError("\n".join(["The checkpoint does not fit this classifier:", *differing]))
    known = set(state_keys)
    for role in ("strategy", "base_strategy"):
        lost = any(key.startswith(f"{role}.") and key not in known for key in checkpoint["state_dict"])
        if lost and present_path(saved[role]) != here[role]:
            name = saved[role].rpartition(".")[2]
            raise CheckpointError(
                f"The checkpoint was trained with {role}={saved[role]}, found {here[role]}. A checkpoint does not hold a "
                f"strategy that was built in Python: give it again, load_from_checkpoint(path, {role}={name}(...))."
            )


def shortened(value: Any) -> str:
    """A value for a message; a long list is cut."""
    if isinstance(value, list) and len(value) > 8:
        return f"[{', '.join(map(str, value[:8]))}, ... {len(value)} in all]"
    return str(value)


def add_up_sums(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put the sums of all processes into the state of rank 0, which writes the checkpoint.

    Returns:
        The summands (P,) of the P processes, by state key.
    """
    summands = {key: torch.stack(gather_from_processes(state[key])) for key in _sums(state)}
    state.update({key: each.sum() for key, each in summands.items()})
    return summands


def share_out_sums(checkpoint: dict[str, Any], rank: int, processes: int) -> None:
    """Let each process continue its own sums of the epoch, or rank 0 those of all if their number was another one.

    A sum of the same numbers in another order is rounded differently: an epoch that resumed would log another last digit.
    """
    state, summands = checkpoint["state_dict"], checkpoint.get(SUMMANDS, {})  # none in checkpoints of version 0.1
    for key in _sums(state):
        if len(summands.get(key, ())) == processes:
            state[key] = summands[key][rank]
        elif rank:
            state[key] = torch.zeros_like(state[key])


def _sums(state: Mapping[str, Tensor]) -> list[str]:
    return [key for key in state if key.startswith(SUMS)]
