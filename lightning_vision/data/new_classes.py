"""Which classes data may have beside those of a base, and beside those of its test data."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Literal, Protocol
from unicodedata import normalize

import numpy as np
import pandas as pd

from lightning_vision.array_types import Rows
from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import listed, nfc

NewClasses = Literal["refuse", "allow"]
ALIKE = 0.85
"""Similarity, from 0 to 1, above which the name of a new class is probably a misspelt one of the base."""


class TestData(Protocol):
    """A datamodule whose test images are used."""

    @property
    def class_names(self) -> list[str]:
        """Its C classes."""

    def use_class_names(self, names: Sequence[str]) -> None:
        """Use another class list."""


def join_test_data(names: list[str], test_data: TestData | None, allowed: bool, fraction: float) -> float:
    """Give training and test data one class list, which is extended in place by further classes of the test data.

    Args:
        names: The classes of the training data.
        test_data: See ``StreamDataModule``.
        allowed: The test data may have classes of a base that the training data has not.
        fraction: The share of the training data that is cut off for testing.

    Returns:
        The share that is still cut off: none if ``test_data`` replaces the test set.

    Raises:
        DataError: The classes differ, and this is not allowed.
    """
    if test_data is None:
        return fraction
    if not allowed:
        check_same_classes(names, test_data.class_names)
    known = {nfc(name) for name in names}
    names += [name for name in test_data.class_names if nfc(name) not in known]
    test_data.use_class_names(names)
    return fraction if allowed else 0.0


def test_rows(samples: pd.DataFrame, official: bool, allowed: bool) -> pd.DataFrame:
    """The rows of ``data.test_data`` that are tested: its official test set, or all of it.

    Beside new classes it is the data of the base, whose other images were trained on: its own options cut off the images
    on which the base was tested.
    """
    tested = samples[samples["split"] == "test"]
    return tested if official or (allowed and len(tested)) else samples


def learned_before(samples: pd.DataFrame, class_names: Sequence[str], base: Sequence[str] | None) -> Rows:
    """The labels that were learned before the stream begins, ascending.

    Args:
        samples: The table.
        class_names: The C names.
        base: The classes that the base knows; None: not known yet, all that have no training image.
    """
    if base is not None:
        known = {nfc(name) for name in base}
        return np.array([label for label, name in enumerate(class_names) if nfc(name) in known], dtype=np.int64)
    trained = samples.loc[samples["split"] == "train", "label"].unique()
    return np.setdiff1d(np.arange(len(class_names)), trained)


def told_classes(base: Sequence[str], samples: pd.DataFrame, class_names: Sequence[str]) -> list[str]:
    """Sentences about the new classes and about those of the base that have no image here.

    Args:
        base: The classes that the base knows.
        samples: The table, in the class list of the run.
        class_names: The class list: the base's classes, then the new ones.
    """
    known = {nfc(name) for name in base}
    images = {
        split: set(samples.loc[samples["split"] == split, "label"].unique().tolist()) for split in ("train", "test")
    }
    place = {nfc(name): label for label, name in enumerate(class_names)}
    new = [name for name in class_names if nfc(name) not in known]
    old = [name for name in class_names if nfc(name) in known]
    untrained = [name for name in old if place[nfc(name)] not in images["train"]]
    untested = [[name for name in names if place[nfc(name)] not in images["test"]] for names in (old, new)]
    said = [
        f"New classes: {listed(new)}, which the base does not know."
        if new
        else "data.new_classes is allow, and the data has no new class: the base knows all of them."
    ]
    if untrained:
        said.append(f"{_of_base(untrained)} no training image here.")
    if untested[0]:
        said.append(
            f"Not evaluated: {_of_base(untested[0])} no test image here, so forgetting of "
            f"{'it' if len(untested[0]) == 1 else 'them'} is not measured. Give data.test_data, the data of the base with the "
            "options of its run, or test images of these classes in the data."
        )
    if untested[1]:
        few = "class has" if len(untested[1]) == 1 else "classes have"
        said.append(f"Not evaluated: {len(untested[1])} new {few} no test image: {listed(untested[1])}.")
    pairs = [(name, other) for name in new for other in old if _alike(name, other)]
    if pairs:
        shown = listed((f"{name}' and '{other}" for name, other in pairs), 10)
        said.append(
            f"Similar names of new classes and of classes of the base: {shown}. If they mean the same, rename the new ones."
        )
    return said


def _of_base(names: Sequence[str]) -> str:
    have = "has" if len(names) == 1 else "have"
    return f"{'1 class' if len(names) == 1 else f'{len(names)} classes'} of the base ({listed(names)}) {have}"


def _alike(name: str, other: str) -> bool:
    """Whether two names differ in case, Unicode form, separators or a letter only."""
    one, two = (
        "".join(letter for letter in normalize("NFKC", text).casefold() if letter.isalnum()) for text in (name, other)
    )
    if one == two:
        return True
    numbered = [letter for letter in one if letter.isdigit()] != [letter for letter in two if letter.isdigit()]
    return not numbered and SequenceMatcher(None, one, two).ratio() >= ALIKE


def check_same_classes(mine: Sequence[str], its: Sequence[str]) -> None:
    """Refuse ``data.test_data`` that has other classes than the training data.

    Raises:
        DataError: Some classes are on one side only; they are named.
    """
    mine, its = [nfc(name) for name in mine], [nfc(name) for name in its]
    if set(mine) == set(its):
        return
    sides = (("only in the training data", mine, its), ("only in data.test_data", its, mine))
    apart = [
        f"{listed(name for name in one if name not in two)} {words}" for words, one, two in sides if set(one) - set(two)
    ]
    raise DataError(
        f"data.test_data must have the classes of the training data, by name: {'; '.join(apart)}. Rename or remove "
        "class folders, or filter the classes of one of the two."
    )
