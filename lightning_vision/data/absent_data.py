"""The data of a run whose images are not here: its classes, experiences and evaluation transform."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor, nn

from lightning_vision.data.data_problems import DataProblems
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.inspection import How
from lightning_vision.data.scenarios import FromColumn
from lightning_vision.errors import DataError

ROWS = 2
"""Of each class in each experience: fewer are no experience."""


class AbsentData(StreamDataModule):
    """Stands for the data of a run, so that its classifier can be loaded and given other images.

    Args:
        root: The run directory.
        classes: The C names.
        experiences: The labels of each experience.
        has_base: The base strategy learned experience 0.
        kind: The class of the data, whose default evaluation transform is used.
        inspect: How the images that are given are inspected.
        options: See ``StreamDataModule``.
    """

    def __init__(
        self,
        root: str | Path,
        classes: Sequence[str],
        experiences: Sequence[Sequence[int]],
        has_base: bool = True,
        kind: type[StreamDataModule] = StreamDataModule,
        inspect: How | None = None,
        **options: Any,
    ) -> None:
        self.classes, self.experiences, self.kind = list(classes), [list(labels) for labels in experiences], kind
        stream = FromColumn("experience")
        stream.has_base = has_base
        super().__init__(root, stream=stream, test_fraction=0, val_fraction=0, inspect="off", **options)
        self.inspect = inspect

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """Rows without images for each class of each experience; classes of none are in one more."""
        self.findings = _Unsaid()
        learned = {label for labels in self.experiences for label in labels}
        later = [label for label in range(len(self.classes)) if label not in learned]
        places = [*self.experiences, *([later] if later else [])]
        rows = [
            (f"{number}/{label}/{row}", label, number)
            for number, labels in enumerate(places)
            for label in labels
            for row in range(ROWS)
        ]
        table = pd.DataFrame(rows, columns=["path", "label", "experience"])
        return table.assign(split="train", label=table["label"].astype("int64")), self.classes

    def load_image(self, index: int) -> Tensor:
        """Refuse: there is none.

        Raises:
            DataError: Always.
        """
        raise DataError(f"The data of the run {self.given_root} is not here: image {index} cannot be read.")

    def default_eval_transforms(self) -> list[nn.Module]:
        """Those of the data's own class."""
        return self.kind.default_eval_transforms(self)


class _Unsaid(DataProblems):
    """What is missing in this data is no news to the user."""

    def report(self, place: object) -> None:
        """Print nothing."""
