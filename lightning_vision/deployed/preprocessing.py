"""An image as an exported classifier is given it: what the run's evaluation transform did, by Pillow alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from lightning_vision.errors import CheckpointError, DataError
from lightning_vision.images.pillow_decoding import (
    MARGIN,
    MOST_SHIFT,
    ORIENTATION,
    SCALES,
    SIDEWAYS,
    check_size,
    explained,
    open_image,
    upright_rgb,
)

Pixels = npt.NDArray[np.uint8]
ImageInput = str | Path | Image.Image | Pixels
"""A file, what Pillow has opened, or uint8 (h, w, 3), RGB."""

RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
SIZES = {"resize_shorter": ("size",), "resize": ("height", "width"), "center_crop": ("size",)}
"""The operations, each with the names of its sizes, in pixels."""


@dataclass(frozen=True)
class Operation:
    """One step: ``resize_shorter`` (size), ``resize`` (height, width) or ``center_crop`` (size)."""

    name: str
    sizes: tuple[int, ...]

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after the step."""
        if self.name == "resize":
            return self.sizes[0], self.sizes[1]
        (size,) = self.sizes
        if self.name == "center_crop":
            return size, size
        # As torchvision does: the longer side is cut to whole pixels.
        return (size, int(size * width / height)) if height <= width else (int(size * height / width), size)


@dataclass(frozen=True)
class Preprocessing:
    """The evaluation transform of an exported classifier.

    Pixels differ from torchvision's by 1 grey level of 255 at most: both resize as Pillow does, in whole numbers.

    Args:
        operations: In order.
        resampling: Of the resizes.
        image_size: Side of the square that must come out, in pixels.
    """

    operations: tuple[Operation, ...]
    resampling: Image.Resampling
    image_size: int

    def __call__(self, source: ImageInput) -> Pixels:
        """One source, upright.

        Returns:
            uint8 (3, S, S), RGB.

        Raises:
            DataError: The file is missing or no source, or the operations do not lead to a square of ``image_size``.
            ValueError: An array is not uint8 (h, w, 3).
        """
        image, size = self._open(source)
        for operation in self.operations:
            height, width = operation.target(*size)
            size = height, width
            if operation.name == "center_crop":
                image = _center_crop(image, height)
            elif image.size != (width, height):
                # Rows first, then columns, as torchvision does; Pillow alone takes the cheaper order, and rounds in between.
                image = image.resize((width, image.height), self.resampling).resize((width, height), self.resampling)
        if image.size != (self.image_size, self.image_size):
            name = f"The image {source}" if isinstance(source, str | Path) else "The image"
            raise DataError(
                f"{name} comes out of the exported preprocessing with {image.width} x {image.height} pixels, and the network takes "
                f"{self.image_size} x {self.image_size}. Give images of that size, or export a run whose eval_transforms resize."
            )
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))

    def _open(self, source: ImageInput) -> tuple[Image.Image, tuple[int, int]]:
        """The image, upright, and its height and width before any reduction."""
        if isinstance(source, np.ndarray):
            if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
                raise ValueError(f"Expected an image as uint8 (height, width, 3), found {source.dtype} {source.shape}.")
            image = Image.fromarray(source)
        elif isinstance(source, Image.Image):
            image = upright_rgb(source)
        else:
            path = Path(source)
            with explained(path), open_image(path) as opened:
                check_size(opened)
                if opened.format == "JPEG" and opened.mode in ("RGB", "L"):
                    return self._open_jpeg(opened)
                image = upright_rgb(opened)
        return image, (image.height, image.width)

    def _open_jpeg(self, opened: Image.Image) -> tuple[Image.Image, tuple[int, int]]:
        """As ``_open``; much larger than wanted, it is read at the reduced scale at which it was read for training."""
        width, height = opened.size
        sideways = opened.getexif().get(ORIENTATION) in SIDEWAYS
        size = (width, height) if sideways else (height, width)
        if self.operations and self.operations[0].name != "center_crop":
            sides = tuple(zip(size, self.operations[0].target(*size), strict=True))
            for scale in SCALES:
                if all(
                    side >= MARGIN * scale * want and side % scale * want <= MOST_SHIFT * side for side, want in sides
                ):
                    opened.draft(opened.mode, (width // scale, height // scale))
                    # The last pixel of a row may stand for fewer than the others, and is left out.
                    return upright_rgb(opened.crop((0, 0, width // scale, height // scale))), size
        return upright_rgb(opened), size


def read_preprocessing(facts: Mapping[str, Any]) -> Preprocessing:
    """The preprocessing that an exported file states.

    Args:
        facts: ``preprocessing``, ``interpolation``, ``antialias`` and ``image_size`` of its metadata.

    Raises:
        CheckpointError: It asks for what Pillow cannot do just so.
    """
    if facts["interpolation"] not in RESAMPLING or facts["antialias"] is not True:
        raise CheckpointError(
            f"The exported file resizes by {facts['interpolation']!r} with antialias {facts['antialias']}; without torch "
            f"it can be {' or '.join(RESAMPLING)} with antialias true."
        )
    operations = tuple(_read_operation(step) for step in facts["preprocessing"])
    return Preprocessing(operations, RESAMPLING[facts["interpolation"]], int(facts["image_size"]))


def _read_operation(step: Mapping[str, Any]) -> Operation:
    sizes = SIZES.get(step["op"])
    if sizes is None or step.keys() != {"op", *sizes} or not _are_sizes(found := [step[name] for name in sizes]):
        known = ", ".join(f"{name} ({', '.join(names)})" for name, names in SIZES.items())
        raise CheckpointError(
            f"The exported file's preprocessing has the step {dict(step)}; those that are known are {known}, in pixels."
        )
    return Operation(step["op"], tuple(found))


def _are_sizes(values: Sequence[Any]) -> bool:
    return all(type(value) is int and value > 0 for value in values)


def _center_crop(image: Image.Image, size: int) -> Image.Image:
    """As torchvision does: a smaller source is laid on black first, and halves of a pixel round to even."""
    left, top = (
        -((size - side) // 2) if side < size else round((side - size) / 2) for side in (image.width, image.height)
    )
    return image.crop((left, top, left + size, top + size))  # what lies outside is black
