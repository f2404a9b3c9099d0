"""Reads a run's predictions.npz: nothing in it is executed, and classes are matched by name."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lightning_vision.errors import DataError

MOST_BYTES = 2**30
"""Of one array: a small file can claim more than fits into memory."""


@dataclass(frozen=True)
class RunPredictions:
    """The predictions for N test images after each of t experiences."""

    index: npt.NDArray[np.int64]
    """(N,) rows of the sample table."""
    path_hash: npt.NDArray[np.str_]
    """(N,)"""
    label: npt.NDArray[np.int64]
    """(N,) true classes."""
    predicted: npt.NDArray[np.int64]
    """(t, N)"""
    confidence: npt.NDArray[np.float32]
    """(t, N), the probability of the predicted class."""
    part: npt.NDArray[np.int64] | None = None
    """(N,) the experience whose test part an image is in; None in files of older versions."""
    group: npt.NDArray[np.str_] | None = None
    """(N,) the group of each image; None if images are independent."""
    probe_predicted: npt.NDArray[np.int64] | None = None
    """(t, N) classes predicted by the linear probe, -1 after experiences without one; None if there is none at all."""

    task_predicted: npt.NDArray[np.int64] | None = None
    """(N,) the last prediction among the classes of the image's experience; None where experiences share classes, and in older files."""

    @property
    def keys(self) -> npt.NDArray[np.str_]:
        """(N,) what identifies an image across runs: its path, and for frames of one path the position of the frame."""
        order, hashes = self.order, self.path_hash[self.order]
        _, first, counts = np.unique(hashes, return_index=True, return_counts=True)
        if len(counts) == len(hashes):
            return self.path_hash
        place = np.arange(len(hashes)) - np.repeat(first, counts)
        several = np.repeat(counts, counts)
        names = [
            f"{text} {n} of {of}" if of > 1 else text
            for text, n, of in zip(hashes.tolist(), place.tolist(), several.tolist(), strict=True)
        ]
        keys = np.array(names)
        return keys[np.argsort(order)]

    @property
    def order(self) -> npt.NDArray[np.int64]:
        """(N,) the images sorted by path, those of one path (frames of a video) by row: alike in runs on one test set."""
        return np.lexsort((self.index, self.path_hash))

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """(t, N) whether the predicted class is the true one."""
        return np.equal(self.predicted, self.label)


def read_predictions(path: Path, file_classes: Sequence[str], class_names: Sequence[str]) -> RunPredictions:
    """Read predictions.npz.

    Args:
        path: The file.
        file_classes: C names: the classes in the order that the file counts them in.
        class_names: The same names in the order that is wanted.

    Raises:
        DataError: It cannot be read, or its arrays do not match each other.
    """
    wanted_always = ("index", "path_hash", "label", "predicted", "confidence")
    arrays = _read(path, wanted_always, ("part", "group", "probe_predicted", "task_predicted"))
    index, path_hash, label = arrays["index"], arrays["path_hash"], arrays["label"]
    predicted, confidence = arrays["predicted"], arrays["confidence"]
    n = len(label) if label.ndim == 1 else -1
    fits = index.shape == path_hash.shape == (n,) and predicted.ndim == 2 and predicted.shape[1] == n
    kinds = (index.dtype.kind, path_hash.dtype.kind, label.dtype.kind, predicted.dtype.kind, confidence.dtype.kind)
    part, group, probed, within = (arrays.get(name) for name in ("part", "group", "probe_predicted", "task_predicted"))
    for optional, kind in ((part, "i"), (group, "U"), (within, "i")):
        fits = fits and (optional is None or (optional.shape == (n,) and optional.dtype.kind == kind))
    fits = fits and (probed is None or (probed.shape == predicted.shape and probed.dtype.kind == "i"))
    if not fits or predicted.shape != confidence.shape or kinds not in (("i", "U", "i", "i", "f"),):
        shapes = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in arrays.items())
        raise DataError(f"{path}: its arrays do not match each other: {shapes}.")
    for values, lowest in ((label, 0), (predicted, 0), (within, 0), (probed, -1)):
        if values is not None and values.size and not (values.min() >= lowest and values.max() < len(file_classes)):
            raise DataError(f"{path} has classes that are not among the {len(file_classes)} in results.json.")
    place = {name: position for position, name in enumerate(class_names)}
    wanted = np.array([place[name] for name in file_classes], dtype=np.int64)
    return RunPredictions(
        index.astype(np.int64),
        path_hash.astype(np.str_),
        wanted[label],
        wanted[predicted],
        confidence.astype(np.float32),
        None if part is None else part.astype(np.int64),
        None if group is None else group.astype(np.str_),
        None if probed is None else np.where(np.isin(probed, -1), -1, wanted[probed]),
        None if within is None else wanted[within],
    )


def key_of_test_set(predictions: RunPredictions, class_names: Sequence[str]) -> str:
    """A hash of the test images and their true classes, whatever the order of images and classes."""
    names = np.argsort(np.argsort(np.array(class_names, dtype=object)))[predictions.label]
    order = np.lexsort((names, predictions.path_hash))
    digest = hashlib.sha256(str(predictions.path_hash.dtype).encode())
    digest.update(np.ascontiguousarray(predictions.path_hash[order]).tobytes())
    digest.update(names[order].astype(np.int64).tobytes())
    return digest.hexdigest()


def _read(path: Path, names: Sequence[str], optional: Sequence[str]) -> dict[str, npt.NDArray[np.generic]]:
    """The arrays of these names, the optional ones where they are there."""
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile) or file.zip is None:
            raise DataError(f"{path}: expected the arrays of predictions.npz, found a single one.")
        with file:
            names = [*names, *(name for name in optional if name in file.files)]
            large = [name for name in names if file.zip.getinfo(f"{name}.npy").file_size > MOST_BYTES]
            if large:
                raise DataError(f"{path}: {', '.join(large)} would take more than {MOST_BYTES >> 30} GiB.")
            return {name: file[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error
