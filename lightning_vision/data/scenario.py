"""A scenario: a way to divide the training data into a stream of experiences."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from lightning_vision.array_types import Rows
from lightning_vision.class_path import BuiltWith, class_path
from lightning_vision.data.online_stream import check_online_options
from lightning_vision.data.sample_table import row_keys
from lightning_vision.data.stream import Experience, Stream
from lightning_vision.errors import DataError
from lightning_vision.seeding import derive_seed
from lightning_vision.terminal.wording import listed, plural


class Scenario(BuiltWith, ABC):
    """Assigns the rows of a split sample table to experiences. Only ``seed`` changes the stream's order.

    Args:
        seed: Seed of the order of the images.
        online: Every image is learned from once, in one epoch, and the accuracy is measured along the stream of batches.
        evaluate_every: Batches between two measurements of an online stream; None: about ten measurements an experience.
        evaluate_images: The most test images of a measurement, a fixed stratified part of the test set; None: all.

    Raises:
        ConfigError: An option of an online stream has a value that it cannot have, or the stream is not online.
    """

    full_matrix: ClassVar[bool] = True
    has_base: bool = True
    """Experience 0 is the base; otherwise the learning strategy learns every experience."""
    online: bool = False
    evaluate_every: int | None = None
    evaluate_images: int | None = 2000

    def __init__(
        self,
        seed: int = 0,
        online: bool = False,
        evaluate_every: int | None = None,
        evaluate_images: int | None = 2000,
    ) -> None:
        self.seed = seed
        self.online, self.evaluate_every, self.evaluate_images = online, evaluate_every, evaluate_images
        check_online_options(online, evaluate_every, evaluate_images)

    @property
    def name(self) -> str:
        """The class's name."""
        return type(self).__name__

    def key_column(self, samples: pd.DataFrame) -> pd.Series | None:
        """The column that names each row's experience: validation and test cuts are stratified by it too."""
        return None

    def named(self, class_names: Sequence[str]) -> "Scenario":
        """The same scenario, with names where it has numbers of these classes: a base may bring another class list."""
        return self

    @abstractmethod
    def assign(self, samples: pd.DataFrame, class_names: Sequence[str]) -> tuple[list[str], Rows]:
        """The experiences' names, and the number of the experience of each row, training or not: (N,) int64."""

    def build(self, samples: pd.DataFrame, class_names: Sequence[str], learned: Iterable[int] = ()) -> Stream:
        """Build the stream from a table whose ``split`` is filled.

        Args:
            samples: The table.
            class_names: The C names.
            learned: The labels that were learned before the stream begins.

        Raises:
            ConfigError: An option of the scenario does not fit the data.
            DataError: A class or an experience has no training data.
        """
        seen = {int(label) for label in learned}
        _check_every_class_is_trained(samples, class_names, seen)
        names, experience_of = self.assign(samples, class_names)
        labels, split = samples["label"].to_numpy(), samples["split"].to_numpy()
        experiences = []
        rows_of = [
            _by_number(np.where(split == part, experience_of, -1), len(names)) for part in ("train", "val", "test")
        ]
        for index, (name, train, val, test) in enumerate(zip(names, *rows_of, strict=True)):
            if len(train) < 2:
                raise self._too_small(index, names, len(train), int((split == "train").sum()))
            generator = np.random.default_rng(derive_seed(self.seed, "stream", index))
            classes = set(np.unique(labels[train]).tolist())
            order = generator.permutation(train)
            experiences.append(
                Experience(
                    index=index,
                    name=name,
                    is_base=self.has_base and index == 0,
                    classes=tuple(sorted(classes)),
                    new_classes=tuple(sorted(classes - seen)),
                    seen_classes=tuple(sorted(classes | seen)),
                    indices=order,
                    val_indices=val,
                    test_indices=test,
                    labels=labels[order].astype(np.int64),
                )
            )
            seen |= classes
        return Stream(self.name, tuple(experiences), self.full_matrix, _stream_hash(samples, experiences))

    def _too_small(self, index: int, names: Sequence[str], count: int, trained: int) -> DataError:
        """The error for an experience with fewer than 2 training images, which has no gradient to speak of."""
        way_out = "Give more images of it."
        if len(names) > 1:
            way_out = (
                f"{plural(len(names), 'experience')} share {plural(trained, 'training image')}: choose fewer experiences or "
                "give more images."
            )
        return DataError(
            f"Experience {index} ('{names[index]}') of {self.name} would have {plural(count, 'training image')} and needs at "
            f"least 2. {way_out}"
        )

    def describe(self) -> dict[str, Any]:
        """Class path and options, as in a configuration file; those of online streams if it is one."""
        left_out = {"has_base"} if self.online else {"has_base", "online", "evaluate_every", "evaluate_images"}
        options = {key: value for key, value in vars(self).items() if not key.startswith("_") and key not in left_out}
        return {"class_path": class_path(self), "init_args": options}


def _check_every_class_is_trained(samples: pd.DataFrame, class_names: Sequence[str], learned: set[int]) -> None:
    trained = learned | set(samples.loc[samples["split"] == "train", "label"].unique())
    for part, words in (("test", "test"), ("val", "validation")):
        only = sorted(set(samples.loc[samples["split"] == part, "label"].unique()) - trained)
        if only:
            raise DataError(
                f"The {words} data has {'a class' if len(only) == 1 else 'classes'} that the training data never has: "
                f"{listed(class_names[label] for label in only)}. Give training images of "
                f"{'it' if len(only) == 1 else 'them'}, or take {'it' if len(only) == 1 else 'them'} out of the "
                f"{words} data."
            )


def _by_number(numbers: Rows, count: int) -> list[Rows]:
    """The rows with each number from 0 to ``count`` - 1, ascending."""
    order = np.argsort(numbers, kind="stable")
    ends = np.searchsorted(numbers[order], np.arange(count + 1))
    return [order[start:end] for start, end in pairwise(ends.tolist())]


def _stream_hash(samples: pd.DataFrame, experiences: Sequence[Experience]) -> str:
    rows = [f"{key}\t{label}\n" for key, label in zip(row_keys(samples), samples["label"].tolist(), strict=True)]
    digest = hashlib.sha256()
    for experience in experiences:
        digest.update(f"{experience.index} {experience.is_base}\n".encode())
        parts = (experience.indices, experience.val_indices, experience.test_indices)
        for part, indices in zip(("train", "val", "test"), parts, strict=True):
            digest.update(f"{part} {len(indices)}\n".encode())
            digest.update("".join([rows[row] for row in indices.tolist()]).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
