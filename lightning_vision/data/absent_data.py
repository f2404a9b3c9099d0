"""A datamodule without its images: for a run whose data is elsewhere, to predict images that a user gives."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from lightning_vision.array_types import Rows
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.scenarios import Scenario
from lightning_vision.data.stream import Stream
from lightning_vision.errors import DataError

NOT_OF_IMAGES: Mapping[str, Any] = {
    **{"split": "official", "val_fraction": 0.0, "test_fraction": 0.0, "test_data": None, "on_leak": "warn"},
    **{"sampler": "none", "class_weights": "none", "annotations": False, "cache": "none", "inspect": "off"},
    "new_classes": "refuse",
}
"""Options about a data set that is not there; those about the preparation of an image stay as they are."""


class _OfNoImages(StreamDataModule):
    """Stands between a datamodule and the class to whose constructor it passes options, by position or by name."""

    def __init__(self, *args: Any, **options: Any) -> None:
        given = inspect.signature(StreamDataModule.__init__).bind_partial(self, *args, **options).arguments
        del given["self"]
        super().__init__(**{**given, **NOT_OF_IMAGES})


class _Recorded(Scenario):
    """The experiences of a run, as its results name them."""

    def __init__(self, experiences: Sequence[tuple[str, Sequence[int]]], has_base: bool) -> None:
        super().__init__()
        self.experiences, self.has_base = list(experiences), has_base

    def build(self, samples: pd.DataFrame, class_names: Sequence[str], learned: Any = ()) -> Stream:
        """The stream, in which classes may be that no experience has taught yet."""
        taught = {label for _, labels in self.experiences for label in labels}
        return super().build(samples, class_names, set(range(len(class_names))) - taught)

    def assign(self, samples: pd.DataFrame, class_names: Sequence[str]) -> tuple[list[str], Rows]:
        """By the column that the stand-in table has for it."""
        return [name for name, _ in self.experiences], samples["experience"].to_numpy(dtype=np.int64)


def without_images(
    kind: type[StreamDataModule],
    options: Mapping[str, Any],
    class_names: Sequence[str],
    experiences: Sequence[tuple[str, Sequence[int]]],
    has_base: bool,
) -> StreamDataModule:
    """A datamodule of a class with the options of a run, of whose data nothing is read.

    It has the transforms, the class names and the experiences of the run. Its table has two rows for each class of an
    experience, whose images cannot be loaded.

    Args:
        kind: The class of the run's datamodule.
        options: The arguments of its constructor.
        class_names: The C names.
        experiences: The name of each finished experience, and the labels of its training data.
        has_base: Whether experience 0 is a base.
    """
    rows = [(index, label) for index, (_, labels) in enumerate(experiences) for label in labels for _ in range(2)]
    table = pd.DataFrame({
        "path": [f"absent/{number}" for number in range(len(rows))],
        "label": np.array([label for _, label in rows], dtype=np.int64),
        "split": "train",
        "experience": np.array([index for index, _ in rows], dtype=np.int64),
    })  # fmt: skip

    class Absent(kind, _OfNoImages):  # type: ignore[misc,valid-type]  # the class is an argument
        image_identity = None  # of images inside other files

        def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
            return table.copy(), list(class_names)

        def load_image(self, index: int) -> Tensor:
            raise DataError("The images of this run's data are not on this machine: give the folder of the data.")

    made: StreamDataModule = Absent(**{**options, "stream": _Recorded(experiences, has_base)})
    made.inspect = options.get("inspect")  # of the images that are given
    return made
