"""The linear head of an exported classifier, which learns on the device, and its file beside the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lightning_vision.errors import CheckpointError
from lightning_vision.storage.atomic_write import write_atomically

NOT_SEEN = -1e9
"""Logit of a class that has no row yet, as the exported graph gives it."""


@dataclass
class LinearHead:
    """The last linear layer. Its rows are float64, so that small movements by many images add up.

    Args:
        weight: (C, D) float64.
        bias: (C,) float64.
        seen: (C,) bool, the classes that have a row.
        counts: (C,) int64, images of each class that it learned since it was exported.
        digest: Of the exported file that it belongs to.
    """

    weight: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]
    seen: npt.NDArray[np.bool_]
    counts: npt.NDArray[np.int64]
    digest: str

    def logits(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Logits (N, C) of features (N, D); ``NOT_SEEN`` for classes without a row."""
        scores = features @ self.weight.T + self.bias
        return np.where(self.seen, scores, NOT_SEEN).astype(np.float32)


def head_path(model: Path) -> Path:
    """Where the learned head of an exported file lies: ``F.head.npz`` beside ``F.onnx``."""
    return model.with_suffix(".head.npz")


def write_head(head: LinearHead, path: Path) -> None:
    """Write the head in one step: whoever reads it, after a kill too, finds the old one or the new one.

    Raises:
        TrainingError: It cannot be written; what was there is unchanged.
    """

    def write(temporary: Path) -> None:
        np.savez(
            temporary,
            weight=head.weight,
            bias=head.bias,
            seen=head.seen,
            counts=head.counts,
            digest=np.array(head.digest),
        )

    write_atomically(path, write)


def read_head(path: Path, exported: LinearHead) -> LinearHead:
    """Read a learned head.

    Args:
        path: The file.
        exported: The head of the exported file, whose digest and shape it must have.

    Raises:
        CheckpointError: It is damaged, or belongs to another file.
    """
    advice = "Delete it to start from the exported head again."
    try:
        with np.load(path, allow_pickle=False) as file:
            found = LinearHead(file["weight"], file["bias"], file["seen"], file["counts"], str(file["digest"][()]))
    except Exception as error:  # a damaged archive raises anything: BadZipFile, KeyError, EOFError, ValueError, ...
        raise CheckpointError(
            f"{path} is not a head file, or is damaged ({type(error).__name__}: {error}). {advice}"
        ) from error
    if found.digest != exported.digest:
        raise CheckpointError(
            f"{path} belongs to another exported classifier: expected the digest {exported.digest[:12]}..., found "
            f"{found.digest[:12]}.... Put it beside the model that it was trained with. {advice}"
        )
    for name in ("weight", "bias", "seen", "counts"):
        expected, there = getattr(exported, name), getattr(found, name)
        if there.shape != expected.shape or there.dtype != expected.dtype or not np.isfinite(there).all():
            raise CheckpointError(
                f"{path} is damaged: expected finite {name} {expected.dtype} {expected.shape}, found {there.dtype} "
                f"{there.shape}. {advice}"
            )
    return found
