"""Images as a user has them: files, folders and videos, arrays, tensors, Pillow's, or a DataLoader of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_vision.data.batch import Batch
from lightning_vision.data.batch_order import Draw, EvalBatches
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.datasets import SampleDataset, collate
from lightning_vision.data.loaders import make_loader
from lightning_vision.errors import DataError
from lightning_vision.images.image_sources import ImageSource, Loaded
from lightning_vision.images.pillow_decoding import upright_rgb
from lightning_vision.trust.given_files import Frame, find_files

EXPECTED = (
    "a folder, image files, videos, uint8 arrays (N, H, W, 3) or (H, W, 3), uint8 tensors (N, 3, H, W) or (3, H, W), PIL images, or a "
    "DataLoader of such tensors"
)


@dataclass(frozen=True)
class GivenImages:
    """Batches of images after the evaluation transform."""

    batches: Iterable[Batch]
    paths: list[str] | None
    """Of the N images; None where they come from memory."""
    frames: list[Frame | None] | None = None
    """The frames of videos; None where no image is one."""


def given_images(images: Any, datamodule: StreamDataModule, every: int = 1) -> GivenImages:
    """Open images as the test images of a datamodule are.

    Args:
        images: See ``EXPECTED``; those of a list may differ in size.
        datamodule: Its evaluation transform, batch size and number of workers are used.
        every: See ``find_files``.

    Raises:
        DataError: They are of another type, dtype or shape, there is none, or a file cannot be read.
    """
    if isinstance(images, DataLoader):
        return GivenImages(_Transformed(images, datamodule), None)
    items = list(images) if isinstance(images, Sequence) and not isinstance(images, str) else [images]
    if items and all(isinstance(item, str | os.PathLike) for item in items):
        found = find_files(items, datamodule, every)
        loader = _loader(found.files, len(found.names), datamodule, datamodule.num_workers)
        return GivenImages(loader, found.names, found.frames if any(found.frames) else None)
    tensors = [tensor for item in items for tensor in _tensors(item)]
    if not tensors:
        raise DataError(f"predict: expected {EXPECTED}; found no image.")
    return GivenImages(_loader(Loaded(tensors.__getitem__), len(tensors), datamodule, 0), None)


class _Transformed:
    """The batches of a user's loader, each image after the evaluation transform."""

    def __init__(self, loader: DataLoader[Any], datamodule: StreamDataModule) -> None:
        self.loader, self.datamodule = loader, datamodule

    def __iter__(self) -> Iterator[Batch]:
        count = 0
        for batch in self.loader:
            tensors = [tensor for item in _of_batch(batch) for tensor in _tensors(item)]
            dataset = _dataset(Loaded(tensors.__getitem__), len(tensors), self.datamodule)
            made = collate([dataset[Draw(row, -1, -1, True, False)] for row in range(len(tensors))])
            made["index"] += count
            count += len(tensors)
            yield made
        if not count:
            raise DataError("predict: expected a DataLoader of images, found one without any.")


def _loader(source: ImageSource, count: int, datamodule: StreamDataModule, workers: int) -> DataLoader[Any]:
    rows, nowhere = np.arange(count, dtype=np.int64), np.full(count, -1, dtype=np.int64)
    return make_loader(
        _dataset(source, count, datamodule), EvalBatches(rows, nowhere, datamodule.batch_size), min(workers, count)
    )


def _dataset(source: ImageSource, count: int, datamodule: StreamDataModule) -> SampleDataset:
    unknown = np.zeros(count, dtype=np.int64)
    return SampleDataset(source, unknown, datamodule.train_transform, datamodule.eval_transform)


def _tensors(item: Any) -> Iterator[Tensor]:
    """The images of an item, each uint8 (3, H, W).

    Raises:
        DataError: It is none, or of another dtype or shape.
    """
    if isinstance(item, Image.Image):
        item = _pixels(item)
    if not isinstance(item, np.ndarray | Tensor):
        raise DataError(f"predict: expected {EXPECTED}; found {type(item).__module__}.{type(item).__qualname__}.")
    array = isinstance(item, np.ndarray)
    dtype, channels = (np.uint8, -1) if isinstance(item, np.ndarray) else (torch.uint8, -3)
    fits = item.dtype == dtype and item.ndim in (3, 4) and item.shape[channels] == 3 and min(item.shape[-3:])
    if not fits:
        found = f"{item.dtype} {'x'.join(map(str, item.shape))}".removeprefix("torch.")
        shapes = "(N, H, W, 3) or (H, W, 3)" if array else "(N, 3, H, W) or (3, H, W)"
        ways = " Images from 0 to 1 become uint8 by (255 * x).round()." if "float" in found else ""
        raise DataError(f"predict: expected uint8 {shapes}, the images before any normalisation; found {found}.{ways}")
    pixels = torch.from_numpy(np.ascontiguousarray(item)) if isinstance(item, np.ndarray) else item.detach().cpu()
    whole = pixels if pixels.ndim == 4 else pixels[None]
    yield from whole.permute(0, 3, 1, 2) if array else whole


def _pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The pixels (H, W, 3) of an image of Pillow.

    Raises:
        DataError: It cannot be read, or not as RGB.
    """
    try:
        return np.array(upright_rgb(image))
    except (OSError, ValueError) as error:  # damaged or closed, or of a mode whose range is unknown
        raise DataError(f"predict: a PIL image of mode {image.mode} cannot be used: {error}.") from error


def _of_batch(batch: Any) -> Sequence[Any]:
    """The images of a batch of a user's loader: those under ``image``, a list of images, or the first part of a tuple.

    Raises:
        DataError: There are none.
    """
    if isinstance(batch, Mapping):
        if "image" not in batch:
            names = ", ".join(map(repr, batch)) or "nothing"
            raise DataError(f"predict: expected batches with the images under 'image', found {names}.")
        return [batch["image"]]
    if isinstance(batch, list | tuple):
        return batch if all(map(_is_one, batch)) else batch[:1]
    return [batch]


def _is_one(item: Any) -> bool:
    """Whether this is a single image."""
    if isinstance(item, np.ndarray | Tensor):
        return item.ndim == 3 and str(item.dtype).endswith("uint8")
    return isinstance(item, Image.Image)
