"""A finished checkpoint as a safetensors file: the weights as tensors, all else as JSON in the file's header."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lightning_vision.errors import CheckpointError
from lightning_vision.learning.checkpoint_file import Checkpoint, save_checkpoint
from lightning_vision.storage.atomic_write import write_atomically

ENTRIES = ("lightning_vision", "hyper_parameters", "lightning_vision_trust")
"""What a checkpoint holds beside the weights and is kept; optimizers and progress are not, for the experience is finished."""


def write_tensors(checkpoint: Checkpoint, path: Path) -> None:
    """Write the weights of a finished checkpoint, with the identity of its classifier and its calibration.

    Args:
        checkpoint: What ``read_checkpoint`` gives.
        path: The file.

    Raises:
        CheckpointError: A strategy keeps something that is no tensor.
        TrainingError: The file cannot be written.
    """
    state: dict[str, Any] = checkpoint["state_dict"]
    if other := next((name for name, value in state.items() if not isinstance(value, Tensor)), None):
        raise CheckpointError(
            f"Expected tensors alone in the state of the classifier, which safetensors can hold; {other} is a "
            f"{type(state[other]).__name__}. Register it as a buffer of the strategy."
        )
    # Copies: a file of safetensors holds no two tensors of one memory.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    header = {"format": "pt", **{key: json.dumps(checkpoint[key]) for key in ENTRIES if key in checkpoint}}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata=header))


def read_tensors(path: Path) -> Checkpoint:
    """The checkpoint in such a file, without optimizers and progress.

    Raises:
        CheckpointError: It is damaged, or is another file of safetensors.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            # Copies: tensors of several types may share one memory here, which torch does not save.
            state = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - it is no mapping
        found = {key: json.loads(header[key]) for key in ENTRIES if key in header}
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(found.get("lightning_vision"), dict):
        raise CheckpointError(
            f"{path} was not written by lightning_vision: its header does not say what classifier it is."
        )
    return {**found, "state_dict": state}


def tensors_to_checkpoint(path: Path, folder: Path) -> Path:
    """Write a checkpoint file with the content of ``read_tensors``.

    Args:
        path: The file of tensors.
        folder: The folder of checkpoints; it is created.

    Returns:
        The checkpoint, named after its experience.

    Raises:
        CheckpointError: See ``read_tensors``.
        TrainingError: It cannot be written.
    """
    checkpoint = read_tensors(path)
    experience = checkpoint["lightning_vision"].get("experience")
    if not isinstance(experience, int) or not 0 <= experience < 10_000:
        raise CheckpointError(f"{path} is damaged: expected the number of an experience, found {experience!r:.50}.")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"experience={experience:04d}.ckpt"
    save_checkpoint({**checkpoint, "pytorch-lightning_version": metadata.version("lightning")}, target)
    return target
