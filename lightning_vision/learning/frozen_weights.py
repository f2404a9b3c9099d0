"""Frozen weights in a file of their own, which checkpoints name by its hash instead of repeating the weights."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path

import torch
import xxhash
from torch import Tensor

from lightning_vision.errors import CheckpointError
from lightning_vision.learning.checkpoint_file import Checkpoint, load_file, save_checkpoint
from lightning_vision.learning.checkpoint_identity import FROZEN, GRAFTED_SCHEMA, NAMING_SCHEMA, WHOLE_SCHEMA
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import moving_state

FILE_NAME = re.compile(r"frozen-([0-9a-f]{16})\.pt")


class FrozenWeights:
    """Leaves weights out of a run's checkpoints that do not change, and keeps them in one file beside the checkpoints.

    A checkpoint names the file and the weights that it takes from it; ``completed`` puts them together. A weight is left
    out only if its bits are those in the file: all are hashed each time a checkpoint is written. What a stage does not
    train only determines which weights the file holds.

    Args:
        folder: The folder of the run's checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: list[str] = []
        self._file: str | None = None
        self._hashes: dict[str, dict[str, str]] = {}
        self._chosen = False

    def begin_stage(self, network: Network) -> None:
        """Note which weights of the backbone a stage does not train.

        Args:
            network: The network; ``requires_grad`` tells what is trained.
        """
        moving = set(moving_state(network))
        prefixes = ("backbone.", "original.")
        self._names = [
            f"network.{name}"
            for name, value in network.state_dict().items()
            if name.startswith(prefixes) and name not in moving and isinstance(value, Tensor)
        ]
        self._chosen = False

    def left_out(self, checkpoint: Checkpoint, *, write: bool) -> Checkpoint:
        """A checkpoint without the weights that are in the file. Called by one process only.

        Args:
            checkpoint: All of it; it is not changed.
            write: Write a file with the weights that the stage does not train, if there is none with all of them. This is
                done once a stage: weights that change afterwards are in the checkpoints.

        Raises:
            TrainingError: The file cannot be written.
        """
        state: dict[str, Tensor] = checkpoint["state_dict"]
        hashes = {name: weight_hash(state[name]) for name in self._names if name in state}
        there = self._file is not None and (self.folder / self._file).is_file()
        if hashes and not (self._chosen and there):
            found = self._find(hashes)
            if found is None and write:
                found = self._write({name: state[name] for name in hashes}, hashes)
            if found is not None:
                self._file, self._chosen, there = found, True, True
        if self._file is None or not there:
            return checkpoint
        held = self._hashes[self._file]
        same = [name for name, value in hashes.items() if held.get(name) == value]
        if not same:
            return checkpoint
        rest = copy.copy(state)  # with the metadata of the modules' versions, which dict() would lose
        for name in same:
            del rest[name]
        return {
            **checkpoint,
            "state_dict": rest,
            "lightning_vision": {
                **checkpoint["lightning_vision"],
                "schema": max(NAMING_SCHEMA, checkpoint["lightning_vision"]["schema"]),
            },
            FROZEN: {"file": self._file, "names": same},
        }

    def drop_unused(self, *, ends: bool) -> None:
        """Delete files that no checkpoint in the folder names. Called by one process only.

        Args:
            ends: The run ends here, so the file of the current stage is not needed for another one.
        """
        spared = None if ends else self._file
        unnamed = {path.name for path in self._files() if path.name != spared}
        # Not what a killed process left half written, which begins with a dot.
        checkpoints = sorted(self.folder.glob("[!.]*.ckpt"))
        try:
            while unnamed and checkpoints:  # the last ones name the files of the last stages: few are read
                unnamed.discard(file_of(checkpoints.pop()) or "")
        except CheckpointError:  # a checkpoint that cannot be read may need any of them
            return
        for name in unnamed:
            (self.folder / name).unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("frozen-*.pt") if FILE_NAME.fullmatch(path.name))

    def _find(self, hashes: Mapping[str, str]) -> str | None:
        """The name of a file with all these weights; None if there is none."""
        for path in self._files():
            if path.name not in self._hashes:
                try:
                    self._hashes[path.name] = _hashed(read_weights(path))
                except CheckpointError:  # it is written again if its weights are needed
                    continue
            if hashes.items() <= self._hashes[path.name].items():
                return path.name
        return None

    def _write(self, weights: dict[str, Tensor], hashes: dict[str, str]) -> str:
        name = f"frozen-{_joint_hash(hashes)}.pt"
        save_checkpoint(weights, self.folder / name)
        self._hashes[name] = hashes
        return name


def completed(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    """A checkpoint with the weights that it takes from another file; others are returned unchanged.

    Args:
        checkpoint: What its file holds.
        path: The file; the other one is beside it.

    Raises:
        CheckpointError: The other file is missing or was changed.
    """
    entry = checkpoint.get(FROZEN)
    if entry is None:
        return checkpoint
    file = path.with_name(_checked_name(entry, path))
    if not file.is_file():
        raise CheckpointError(
            f"{path} holds only what was trained; the frozen weights of its backbone are in {file.name}, and there is no such "
            f"file in {file.parent}. Copy it from the folder of the run's checkpoints, or use the first or the last "
            "checkpoint of a run, which hold all weights."
        )
    try:
        weights = read_weights(file)
    except CheckpointError as error:
        raise CheckpointError(f"{path} takes the frozen weights of its backbone from another file. {error}") from error
    try:
        frozen = {name: weights[name] for name in entry["names"]}
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {file.name} does not hold all the weights that it names.") from error
    checkpoint["state_dict"].update(frozen)
    written = checkpoint["lightning_vision"]
    identity = {**written, "schema": GRAFTED_SCHEMA if written["schema"] == GRAFTED_SCHEMA else WHOLE_SCHEMA}
    return {**{key: value for key, value in checkpoint.items() if key != FROZEN}, "lightning_vision": identity}


def file_of(path: Path) -> str | None:
    """The name of the file of frozen weights that a checkpoint needs; None if it holds all weights.

    Raises:
        CheckpointError: It cannot be read.
    """
    checkpoint = load_file(path, lazily=True)
    entry = checkpoint.get(FROZEN) if isinstance(checkpoint, dict) else None
    return None if entry is None else _checked_name(entry, path)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights (by name) in a file of frozen weights.

    Raises:
        CheckpointError: It cannot be read, or does not hold what was written.
    """
    weights = load_file(path)
    expected = FILE_NAME.fullmatch(path.name)
    plain = isinstance(weights, dict) and all(isinstance(value, Tensor) for value in weights.values())
    if expected is None or not plain or _joint_hash(_hashed(weights)) != expected[1]:
        raise CheckpointError(
            f"{path} was changed after it was written: its weights do not have the hash in its name. Restore it; the "
            "checkpoints that name it cannot be used without it."
        )
    return dict(weights)


def weight_hash(value: Tensor) -> str:
    """A hash of a tensor's type, shape and bits, whatever its device and memory format."""
    digest = xxhash.xxh3_128(f"{value.dtype} {tuple(value.shape)}".encode())
    digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _hashed(weights: Mapping[str, Tensor]) -> dict[str, str]:
    return {name: weight_hash(value) for name, value in weights.items()}


def _joint_hash(hashes: Mapping[str, str]) -> str:
    return xxhash.xxh3_64("\n".join(f"{name} {hashes[name]}" for name in sorted(hashes)).encode()).hexdigest()


def _checked_name(entry: object, path: Path) -> str:
    """The name of a file beside the checkpoint, never one elsewhere.

    Raises:
        CheckpointError: It is another name.
    """
    name = entry.get("file") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not FILE_NAME.fullmatch(name):
        raise CheckpointError(f"{path} is damaged: expected the name of a file of frozen weights, found {name!r:.100}.")
    return name
