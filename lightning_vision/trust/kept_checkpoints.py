"""The checkpoints that a run has kept, loaded one after another into its classifier."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import CheckpointError
from lightning_vision.learning.checkpoints import Checkpoint, read_checkpoint
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.results.run_directory import RunDirectory


@dataclass(frozen=True)
class Kept:
    """A checkpoint of the run."""

    path: Path
    experience: int


def earlier_checkpoints(path: Path, experience: int) -> list[Kept]:
    """The kept checkpoints of experiences before a checkpoint's, in the stream's order."""
    numbered = [(int(kept.stem.split("=")[1]), kept) for kept in RunDirectory(path.parent.parent).all_finished()]
    return [Kept(kept, number) for number, kept in numbered if number < experience and kept.resolve() != path.resolve()]


@contextmanager
def loaded(model: ContinualClassifier, datamodule: StreamDataModule, kept: Kept, own: Path) -> Iterator[None]:
    """The classifier as it was after an earlier experience, and as it is in its own checkpoint afterwards.

    Args:
        model: Holds the weights of ``own``.
        datamodule: Knows the experiences.
        kept: What is loaded.
        own: The checkpoint to come back to.

    Raises:
        CheckpointError: It does not fit.
    """
    before = model.experience
    try:
        _load(model, datamodule, read_checkpoint(kept.path), kept.path)
        yield
    finally:
        _load(model, datamodule, read_checkpoint(own), own)
        model.experience = before


def _load(model: ContinualClassifier, datamodule: StreamDataModule, checkpoint: Checkpoint, path: Path) -> None:
    identity, state = checkpoint["lightning_vision"], checkpoint["state_dict"]
    names = identity["class_names"]
    if names != model.class_names:
        raise CheckpointError(
            f"{path} has other classes ({len(names)}) than the assessed checkpoint ({len(model.class_names)}): they "
            "are not from the same run. Move it out of the folder."
        )
    # What a strategy has filled since then was None, and is not in the checkpoint.
    for prefix, module in model.named_modules():
        for name, buffer in module._buffers.items():
            key = f"{prefix}.{name}" if prefix else name
            if buffer is not None and name not in module._non_persistent_buffers_set and key not in state:
                module._buffers[name] = None
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit this model: {' '.join(str(error).split())[:300]}") from error
    number = int(identity["experience"])
    stream = datamodule.stream
    model.experience = replace(stream[min(number, len(stream) - 1)], index=number, is_base=bool(identity["is_base"]))
    model.picked_variant = identity["picked_variant"]
