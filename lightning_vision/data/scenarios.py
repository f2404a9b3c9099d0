"""Scenarios: ways to divide the training data into a stream of experiences."""

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
import pandas as pd

from lightning_vision.array_types import Rows
from lightning_vision.data.class_order import check_class_order, order_by_name, ordered_classes
from lightning_vision.data.scenario import Scenario as Scenario
from lightning_vision.data.stratified_split import deal
from lightning_vision.data.value_order import ordered_texts
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.terminal.wording import few, listed, nearest_first, plural


class Joint(Scenario):
    """All data at once, in one experience of the learning strategy: the upper bound for the other scenarios."""

    has_base = False

    def assign(self, samples: pd.DataFrame, class_names: Sequence[str]) -> tuple[list[str], Rows]:
        """Everything in experience 0."""
        return ["joint"], np.zeros(len(samples), dtype=np.int64)


class InstanceIncremental(Scenario):
    """New images of known classes: a base, then increments, each with every class and with whole groups.

    Training and validation data are divided in the same shares, so that an experience's validation part belongs to its
    own data; the test set is divided in equal shares, so that the columns of the accuracy matrix are equally noisy.

    Args:
        experiences: Number of experiences, including the base.
        base_fraction: Share of the training data in the base; 0 makes every experience an increment on a given base.
        seed: Seed of the division and the order.
        **online: ``online``, ``evaluate_every`` and ``evaluate_images``, see ``Scenario``.
    """

    def __init__(self, experiences: int = 5, base_fraction: float = 0.5, seed: int = 0, **online: Any) -> None:
        super().__init__(seed, **online)
        _check_count(experiences)
        if not 0 <= base_fraction <= 1 or (base_fraction == 1 and experiences > 1):
            raise ConfigError(
                f"InstanceIncremental: base_fraction must be at least 0 and less than 1, not {base_fraction}: "
                f"it leaves nothing for the other {plural(experiences - 1, 'experience')}."
            )
        self.experiences = experiences
        self.base_fraction = base_fraction
        self.has_base = base_fraction > 0

    def assign(self, samples: pd.DataFrame, class_names: Sequence[str]) -> tuple[list[str], Rows]:
        """Divide each split, stratified by class and, if the column exists, by group."""
        count, split = self.experiences, samples["split"].to_numpy()
        trained = int((split == "train").sum())
        if count > trained:
            raise ConfigError(
                f"InstanceIncremental: {count} experiences cannot be made of {plural(trained, 'training image')}; "
                "choose fewer experiences or give more images."
            )
        equal = [1 / count] * count
        shares = equal
        if self.has_base and count > 1:
            shares = [self.base_fraction] + [(1 - self.base_fraction) / (count - 1)] * (count - 1)
        experience_of = np.zeros(len(samples), dtype=np.int64)
        for part, fractions in (("train", shares), ("val", shares), ("test", equal)):
            rows = np.flatnonzero(split == part)
            if "role" in samples and part != "test":
                experience_of[rows] = self._deal_increments(samples, rows, part)
                continue
            experience_of[rows] = _deal(samples, rows, fractions, (self.seed, "experiences", part))
        names = [f"increment {index}" for index in range(count)]
        return (["base", *names[1:]] if self.has_base else names), experience_of

    def _deal_increments(self, samples: pd.DataFrame, rows: Rows, part: str) -> Rows:
        """The base is given by ``data.split``, and the rest is divided between the increments in equal shares."""
        if not self.has_base or self.experiences < 2:
            raise ConfigError(
                "InstanceIncremental: data.split names a base and increments, so it needs a base_fraction above 0 (whose "
                f"size counts for nothing here) and at least 2 experiences, not {self.experiences}."
            )
        experience_of = np.zeros(len(rows), dtype=np.int64)
        later = np.flatnonzero(samples["role"].to_numpy()[rows] != "base")
        equal = [1 / (self.experiences - 1)] * (self.experiences - 1)
        experience_of[later] = 1 + _deal(samples, rows[later], equal, (self.seed, "increments", part))
        return experience_of


class ClassIncremental(Scenario):
    """New classes: each experience has its own classes, and no class returns.

    Args:
        experiences: Number of experiences, including the base.
        base_classes: Number of classes of experience 0; the others share the rest. None: equal shares.
        class_order: The classes in the order in which they appear, by name or by number (from 0, in the order of the class
            list); "random" for an order drawn with the seed, or None for the order of the class list.
        class_order_seed: Seed of NumPy's legacy generator whose permutation of the class numbers is the order: 1993 is the
            published order of CIFAR-100 and others. It replaces ``class_order``.
        seed: Seed of the order of the images, and of a random order of the classes.
        **online: See ``InstanceIncremental``.
    """

    full_matrix = False

    def __init__(
        self,
        experiences: int = 5,
        base_classes: int | None = None,
        class_order: list[str] | list[int] | str | None = None,
        seed: int = 0,
        class_order_seed: int | None = None,
        **online: Any,
    ) -> None:
        super().__init__(seed, **online)
        _check_count(experiences)
        if base_classes is not None and base_classes < 1:
            raise ConfigError(f"ClassIncremental: base_classes must be at least 1, not {base_classes}.")
        check_class_order(class_order, class_order_seed)
        self.experiences = experiences
        self.base_classes = base_classes
        self.class_order, self.class_order_seed = class_order, class_order_seed

    def named(self, class_names: Sequence[str]) -> Scenario:
        """With the order by name."""
        order = order_by_name(self.class_order, self.class_order_seed, class_names)
        if order is None:
            return self
        found = copy(self)
        found.class_order, found.class_order_seed = order, None
        return found

    def assign(self, samples: pd.DataFrame, class_names: Sequence[str]) -> tuple[list[str], Rows]:
        """Divide the ordered classes into consecutive parts, without classes that have no training images."""
        trained: list[int] = np.unique(samples.loc[samples["split"] == "train", "label"].to_numpy()).tolist()
        order = ordered_classes(self.class_order, self.class_order_seed, self.seed, class_names, trained)
        base, rest = self.base_classes, self.experiences - 1
        if len(order) < self.experiences or (base is not None and len(order) - base < rest):
            wanted = f"{self.experiences} experiences" + (f" with {base} classes in the first" if base else "")
            raise ConfigError(
                f"ClassIncremental: {wanted} cannot be made of {len(order)} classes: every experience needs a class of "
                "its own. Choose fewer experiences" + (" or fewer base_classes." if base else ".")
            )
        if base is None:
            parts = np.array_split(np.array(order), self.experiences)
        elif rest == 0 and base < len(order):
            raise ConfigError(
                f"ClassIncremental: one experience with {base} of {len(order)} classes leaves the others out; "
                "choose more experiences or leave base_classes out."
            )
        else:
            parts = (
                [np.array(order[:base]), *np.array_split(np.array(order[base:]), rest)] if rest else [np.array(order)]
            )
        experience_of_class = np.full(len(class_names), -1, dtype=np.int64)
        for index, classes in enumerate(parts):
            experience_of_class[classes] = index
        names = [few([class_names[label] for label in classes], 2 if len(classes) > 3 else 3) for classes in parts]
        return names, experience_of_class[samples["label"].to_numpy()]


class _ByColumn(Scenario):
    """One experience for each value of a column."""

    _column: str
    date_format: str | None
    common_test: bool

    def key_column(self, samples: pd.DataFrame) -> pd.Series:
        """The column.

        Raises:
            ConfigError: There is no such column.
            DataError: A row has no value in it.
        """
        if self._column not in samples:
            raise ConfigError(
                f"{self.name}: the data has no column '{self._column}'. Its columns, nearest first: "
                f"{listed(nearest_first(self._column, samples.columns))}."
            )
        column = samples[self._column]
        missing = np.flatnonzero(column.isna().to_numpy())
        if len(missing):
            raise DataError(
                f"{self.name}: {plural(len(missing), 'image')} of {len(samples)} "
                f"{'has' if len(missing) == 1 else 'have'} no value in the column '{self._column}': "
                f"{listed(samples['path'].iloc[missing], most=5)}. "
                "Fill the column for every image or choose another."
            )
        return column

    def assign(self, samples: pd.DataFrame, class_names: Sequence[str]) -> tuple[list[str], Rows]:
        """The values in ascending order: numbers by size, dates by time, other text with its digits as numbers."""
        column, test = self.key_column(samples), (samples["split"] == "test").to_numpy()
        dealt = np.flatnonzero(test & self.common_test)
        values = list(column[~test | (not self.common_test)].unique())
        if len(values) == 1:
            raise DataError(
                f"{self.name}: the column '{self._column}' has a single value, '{values[0]}', and a stream of them "
                "needs at least 2. Choose another column, or the scenario Joint."
            )
        if self.date_format is not None or not (
            pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_datetime64_any_dtype(column.dtype)
        ):
            texts = {str(value): value for value in values}
            values = [texts[text] for text in ordered_texts(list(texts), self._column, self.date_format)]
        else:
            values.sort()
        trained = set(column[samples["split"] == "train"])
        untrained = [value for value in values if value not in trained]
        if untrained:
            raise DataError(
                f"{self.name}: the training data has no image with {self._column} = {listed(untrained)}, which the "
                "validation or test data has. Give training images of it, or take those images out; a column that "
                "is the same throughout each group cannot be both trained and tested. If all experiences have one test set, "
                "set data.stream.common_test to true."
            )
        number = {value: index for index, value in enumerate(values)}
        experience_of = np.array(column.map(number).fillna(0), dtype=np.int64)
        labels, equal = samples["label"].to_numpy()[dealt], [1 / len(values)] * len(values)
        experience_of[dealt] = deal(labels, equal, (self.seed, "experiences", "test"))
        return [str(value) for value in values], experience_of


class DomainIncremental(_ByColumn):
    """The same classes in new domains: one experience for each domain, in ascending order of its name.

    Args:
        by: The column that names the domain.
        seed: Seed of the order of the images.
        date_format: How dates in it are written if not as 2026-03-01, as Python's strptime names it: %d.%m.%Y.
        common_test: The test images are of other domains and one test set for all experiences, which is dealt out to them
            in equal shares, stratified by class.
        **online: See ``InstanceIncremental``.
    """

    def __init__(
        self,
        by: str = "domain",
        seed: int = 0,
        date_format: str | None = None,
        common_test: bool = False,
        **online: Any,
    ) -> None:
        super().__init__(seed, **online)
        self.by = self._column = by
        self.date_format, self.common_test = date_format, common_test


class FromColumn(_ByColumn):
    """The user's own order: one experience for each value of a column, for instance a date.

    Args:
        column: The column; numbers are sorted by size, dates and months by time, versions by their numbers, other text
            with its digits as numbers.
        seed: Seed of the order of the images.
        date_format: How dates are written if not as 2026-03-01, as Python's strptime names it: %d.%m.%Y.
        common_test: See ``DomainIncremental``.
        **online: See ``InstanceIncremental``.
    """

    full_matrix = False

    def __init__(
        self,
        column: str,
        seed: int = 0,
        date_format: str | None = None,
        common_test: bool = False,
        **online: Any,
    ) -> None:
        super().__init__(seed, **online)
        self.column = self._column = column
        self.date_format, self.common_test = date_format, common_test


def _deal(samples: pd.DataFrame, rows: Rows, fractions: Sequence[float], seed: tuple[int | str, ...]) -> Rows:
    """The share of each of these rows, stratified by class and, if the column exists, by group."""
    groups = samples["group"].to_numpy()[rows] if "group" in samples else None
    return deal(samples["label"].to_numpy()[rows], fractions, seed, groups)


def _check_count(experiences: int) -> None:
    if experiences < 1:
        raise ConfigError(f"A stream needs at least 1 experience, not {experiences}.")
