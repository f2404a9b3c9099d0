"""From rows to batches: order and augmentation are pure functions of seed, experience and epoch.

Nothing here depends on the number of workers, on how often an iterator was created, or on a generator's state. So an
interrupted run resumes with the same images, and any number of processes gets the same global batches.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_vision.array_types import Rows
from lightning_vision.data.batch import Batch, FeatureBatch
from lightning_vision.data.batch_order import Draw
from lightning_vision.errors import ConfigError
from lightning_vision.images.apply_transform import Transform, seeded, transform_annotated, transform_image
from lightning_vision.images.image_sources import ImageSource
from lightning_vision.images.transform_identity import describe_transform

Item = dict[str, Any]


class SampleDataset(Dataset[Item]):
    """Loads, transforms and labels one image. The augmentation is a pure function of the draw's seed.

    Transforms draw from the generators of torch or Python, as torchvision's do; seeding NumPy's takes too long.

    Args:
        source: Opens the image of a row.
        labels: (N,) the label of each row.
        train_transform: For draws with a seed; uint8 (3, h, w) to uint8 (3, H, W).
        eval_transform: For draws without a seed.
        annotations: Add boxes and saliency maps, transformed with the images.
    """

    def __init__(
        self,
        source: ImageSource,
        labels: Rows,
        train_transform: Transform,
        eval_transform: Transform,
        annotations: bool = False,
    ) -> None:
        self.source = source
        self.labels = labels
        self.train_transform = train_transform
        self.eval_transform = eval_transform
        self.annotations = annotations

    def __len__(self) -> int:
        return len(self.labels)

    def describe(self, augmented: bool) -> dict[str, Any]:
        """Everything that determines the network's input for a row, as plain values: a key for caches.

        Args:
            augmented: With the training transform; otherwise with the evaluation transform.
        """
        transform = self.train_transform if augmented else self.eval_transform
        return {**self.source.describe(), "transform": describe_transform(transform), "annotated": self.annotations}

    def __getitem__(self, draw: Draw) -> Item:
        """The draw's fields with ``image`` and ``label``, and the annotations if there are any."""
        transform = self.eval_transform if draw.seed < 0 else self.train_transform
        source = self.source.open(draw.index)
        if self.annotations:
            known = self.source.annotations(draw.index)
            item = seeded(lambda: transform_annotated(transform, source.pixels(), known), draw.seed)
        else:
            item = {"image": seeded(lambda: transform_image(transform, source), draw.seed)}
        image = item["image"]
        if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
            raise ConfigError(
                "A transform must turn a uint8 image (3, h, w) into a uint8 image (3, H, W); it gave "
                f"{str(image.dtype).removeprefix('torch.')} {tuple(image.shape)}. Leave out ToDtype, ToImage and "
                "Normalize: the network scales and normalises on its own device."
            )
        return {**draw._asdict(), **item, "label": int(self.labels[draw.index])}


def collate(items: Sequence[Item]) -> Batch:
    """Stack items to a batch; items from memory form a batch of their own under ``memory``."""
    batch = _stack([item for item in items if not item["memory"]])
    remembered = [item for item in items if item["memory"]]
    if remembered:
        batch["memory"] = _stack(remembered)
    return batch


class FeatureDataset(Dataset[Item]):
    """Serves features that were computed before, a whole batch at once.

    Args:
        read: Features (B, D) of rows (B,), given the seed (B,) of each draw.
        labels: (N,) the label of each row.
    """

    def __init__(self, read: Callable[[Rows, Rows], Tensor], labels: Rows) -> None:
        self.read = read
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, draw: Draw) -> Item:
        """One draw's features, and its label."""
        return {**self._batch([draw])}

    def __getitems__(self, draws: Sequence[Draw]) -> Batch:
        """The batch of these draws: features (B, D); those from memory are under ``memory``."""
        batch = self._batch([draw for draw in draws if not draw.memory])
        remembered = [draw for draw in draws if draw.memory]
        if remembered:
            batch["memory"] = self._batch(remembered)
        return batch

    def _batch(self, draws: Sequence[Draw]) -> Batch:
        rows = np.array([draw.index for draw in draws], dtype=np.int64)
        batch = FeatureBatch(
            features=self.read(rows, np.array([draw.seed for draw in draws], dtype=np.int64)),
            label=torch.from_numpy(self.labels[rows]),
            index=torch.from_numpy(rows),
            experience=torch.tensor([draw.experience for draw in draws], dtype=torch.int64),
            valid=torch.tensor([draw.valid for draw in draws], dtype=torch.bool),
        )
        if draws[0].place is not None:
            batch["place"] = torch.tensor([draw.place for draw in draws], dtype=torch.int64)
        return cast(Batch, batch)


def _stack(items: Sequence[Item]) -> Batch:
    shapes = {tuple(item["image"].shape) for item in items}
    if len(shapes) > 1:
        raise ConfigError(
            f"The images of one batch have different sizes after the transforms: {sorted(shapes)}. "
            "End the transforms with one that gives every image the same size, such as CenterCrop."
        )
    batch = Batch(
        image=torch.stack([item["image"] for item in items]),
        label=torch.tensor([item["label"] for item in items], dtype=torch.int64),
        index=torch.tensor([item["index"] for item in items], dtype=torch.int64),
        experience=torch.tensor([item["experience"] for item in items], dtype=torch.int64),
        valid=torch.tensor([item["valid"] for item in items], dtype=torch.bool),
    )
    if items[0]["place"] is not None:
        batch["place"] = torch.tensor([item["place"] for item in items], dtype=torch.int64)
    if "box_xyxy" in items[0]:
        batch["box_xyxy"] = torch.stack([item["box_xyxy"] for item in items])
        batch["saliency"] = torch.stack([item["saliency"] for item in items])
    return batch
