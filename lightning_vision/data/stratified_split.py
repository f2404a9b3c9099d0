"""Splits samples by class, keeping groups whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lightning_vision.array_types import Rows
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.seeding import derive_seed
from lightning_vision.terminal.wording import listed, plural


def deal(
    labels: npt.ArrayLike,
    fractions: Sequence[float],
    seed_words: tuple[int | str, ...],
    groups: npt.ArrayLike | None = None,
) -> Rows:
    """Divide rows between parts in the given shares, stratified by label, with a generator of its own.

    Without groups, the number of rows of each part is its share of each label, and of all rows together, rounded down or
    up. If there are too few rows for every part, the largest part is served first, so a single image of a class is
    used for training. With groups, whole groups are assigned to parts in which they fit, large ones first, and
    otherwise to the part that is furthest below its share.

    Args:
        labels: (N,) integers to stratify by.
        fractions: The shares of the P parts; their sum is 1.
        seed_words: The words from which the generator's seed is derived.
        groups: (N,) values that can be compared; a missing value is a group of its own.

    Returns:
        (N,) int64, the part of each row, 0 to P - 1.
    """
    codes = pd.factorize(np.asarray(labels), sort=True)[0]
    shares = np.asarray(fractions, dtype=np.float64)
    generator = np.random.default_rng(derive_seed(*seed_words))
    if groups is None or len(codes) == 0:
        return _deal_rows(codes, shares, generator)
    return _deal_groups(codes, shares, generator, group_codes(groups))


def split_samples(
    samples: pd.DataFrame,
    class_names: Sequence[str],
    val_fraction: float,
    test_fraction: float,
    seed: int,
    stratify_by: pd.Series | None = None,
) -> pd.DataFrame:
    """Fill the ``split`` column: an official split is kept, missing parts are cut from the training data.

    Args:
        samples: The checked table.
        class_names: One name for each label.
        val_fraction: Share of the training data that becomes validation data, in [0, 1).
        test_fraction: Share of all data that becomes test data if there is no official test set, in [0, 1).
        seed: The only seed of the split; the test set does not depend on ``val_fraction``.
        stratify_by: (N,) a second value, beside the label, by which the split is stratified.

    Returns:
        A copy with ``split`` one of "train", "val", "test" in every row.
    """
    for name, value in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0 <= value < 1:
            raise ConfigError(f"{name} must be at least 0 and less than 1, not {value}.")
    split = samples["split"].replace("", "train").to_numpy(dtype=object, copy=True)
    if not (split == "train").any():
        raise DataError(
            f"There is no training data: all {plural(len(samples), 'image')} are in {listed(sorted(set(split)))}."
        )
    strata = samples["label"].to_numpy()
    if stratify_by is not None:
        strata = strata * (stratify_by.nunique() + 1) + pd.factorize(stratify_by)[0]
    groups = samples["group"].to_numpy() if "group" in samples else None
    for part, fraction in (("test", test_fraction), ("val", val_fraction)):
        if fraction == 0 or (split == part).any():
            continue
        rows = np.flatnonzero(split == "train")
        own_groups = None if groups is None else groups[rows]
        dealt = deal(strata[rows], [1 - fraction, fraction], (seed, part), own_groups)
        if stratify_by is not None:
            values = pd.factorize(stratify_by)[0][rows]
            labels = samples["label"].to_numpy()[rows]
            dealt = _serve_values(dealt, labels, values, fraction, (seed, part, "values"), own_groups)
        split[rows[dealt == 1]] = part
    return samples.assign(split=pd.Series(split, dtype="str"))


def _serve_values(
    dealt: Rows,
    labels: npt.NDArray[np.int64],
    values: npt.NDArray[np.intp],
    fraction: float,
    seed_words: tuple[int | str, ...],
    groups: npt.NDArray[Any] | None,
) -> Rows:
    """Cut images of values that have none in part 1, though their share of the data is owed.

    Strata of class and value may be so small, such as one image of a class and day, that each goes to part 0 as a whole.
    Then the value furthest below its share gives an image (or group) of the class furthest below its share, until part 1
    has its share of the data. Each value keeps two rows in part 0, and each class one.

    Args:
        dealt: (N,) the part of each row, 0 or 1.
        labels: (N,) integers from 0 on; likewise ``values``.
        values: See ``labels``.
        fraction: The share of part 1.
        seed_words: The words from which the generator's seed is derived.
        groups: (N,) as for ``deal``.
    """
    parts = dealt.copy()
    lacking = np.flatnonzero(np.bincount(values, minlength=values.max(initial=-1) + 1) > 0)
    lacking = lacking[~np.isin(lacking, values[parts == 1])]
    if len(lacking) == 0:
        return parts
    generator = np.random.default_rng(derive_seed(*seed_words))
    members = _members(groups, len(parts))
    first = np.array([rows[0] for rows in members], dtype=np.int64)
    lists: dict[int, list[int]] = {int(value): [] for value in lacking}
    for unit in generator.permutation(len(members)).tolist():
        for value in set(values[members[unit]].tolist()) & lists.keys():
            lists[value].append(unit)
    units_of = {value: np.array(units, dtype=np.int64) for value, units in lists.items()}
    given, wanted = int((parts == 1).sum()), round(fraction * len(parts))
    owed = [fraction * np.bincount(codes) for codes in (values, labels)]
    kept = [
        np.bincount(codes[parts == 0], minlength=len(total))
        for codes, total in zip((values, labels), owed, strict=True)
    ]
    for codes, total in zip((values, labels), owed, strict=True):
        total -= np.bincount(codes[parts == 1], minlength=len(total))
    owed[0] += 1e-6 * generator.random(len(owed[0]))  # among equals not always the first
    owed[0][~np.isin(np.arange(len(owed[0])), lacking)] = -np.inf

    def best_unit(value: int) -> int | None:
        """Of the units of a value that may go, the one whose classes are furthest below their share."""
        units = units_of[value] = units_of[value][parts[first[units_of[value]]] == 0]
        if groups is None:  # the same for units of one row, at once
            own = labels[units]
            good = kept[1][own] >= 2
            if kept[0][value] < 3 or not good.any():
                return None
            return int(units[np.where(good, owed[1][own], -np.inf).argmax()])
        fitting = [unit for unit in units.tolist() if fits(members[unit])]
        return max(fitting, key=lambda unit: float(owed[1][labels[members[unit]]].mean()), default=None)

    def fits(rows: Rows) -> bool:
        left = [
            total[codes[rows]] - np.bincount(codes[rows])[codes[rows]]
            for codes, total in zip((values, labels), kept, strict=True)
        ]
        return given + len(rows) <= wanted and bool((left[0] >= 2).all() and (left[1] >= 1).all())

    while given < wanted and owed[0].max() > 0:
        value = int(owed[0].argmax())
        unit = best_unit(value)
        if unit is None:
            owed[0][value] = -np.inf
            continue
        rows = members[unit]
        parts[rows] = 1
        given += len(rows)
        for codes, owing, keeping in zip((values, labels), owed, kept, strict=True):
            np.subtract.at(owing, codes[rows], 1)
            np.subtract.at(keeping, codes[rows], 1)
    return parts


def _members(groups: npt.NDArray[Any] | None, count: int) -> list[Rows]:
    """The rows of each group; a missing value is a group of its own."""
    if groups is None:
        return list(np.arange(count, dtype=np.int64)[:, None])
    codes = group_codes(groups)
    return np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])


def group_codes(groups: npt.ArrayLike) -> Rows:
    """(N,) a number for each group; a missing value is a group of its own."""
    codes = pd.factorize(pd.Series(groups), use_na_sentinel=True)[0].astype(np.int64)
    alone = codes < 0
    codes[alone] = codes.max(initial=-1) + 1 + np.arange(alone.sum())
    return codes


def why_none(samples: pd.DataFrame, fraction: float, stratify_by: pd.Series | None = None) -> str:
    """Why no image is cut off for testing or validation, as the second half of a sentence.

    Args:
        samples: The rows that could be cut from.
        fraction: The share that was asked for.
        stratify_by: As for ``split_samples``.
    """
    if fraction == 0:
        return "the share is 0"
    if "group" in samples and samples["group"].notna().any():
        groups = samples["group"].nunique() + int(samples["group"].isna().sum())
        if groups == 1:
            return "one group holds all images, and a group is never split"
        if groups <= 2 * samples["label"].nunique():
            return f"{plural(groups, 'group')} hold all images, and a group is never split"
    each = samples["label"].value_counts()
    if each.max() == 1:
        return "there is one image of each class"
    if stratify_by is not None and pd.DataFrame({"a": samples["label"], "b": stratify_by}).value_counts().max() == 1:
        return f"there is one image of each class and {stratify_by.name}"
    return f"there are too few images: a share of {fraction:g} of {plural(len(samples), 'image')}"


def _deal_rows(codes: npt.NDArray[np.intp], shares: npt.NDArray[np.float64], generator: np.random.Generator) -> Rows:
    parts = np.empty(len(codes), dtype=np.int64)
    behind = np.zeros(len(shares))  # rows by which each part is below its share of all labels so far
    largest = _single_largest(shares)
    order, sizes = np.argsort(codes, kind="stable"), np.bincount(codes)
    for of_code in np.split(order, np.cumsum(sizes)[:-1]) if len(codes) else []:
        rows = generator.permutation(of_code)
        quota = shares * len(rows)
        counts = np.floor(quota + 1e-9).astype(np.int64)
        behind += quota - counts
        priority = np.where(quota - counts > 1e-9, behind, -np.inf)
        if largest is not None and counts[largest] == 0:
            priority[largest] = np.inf
        extra = np.argsort(-priority, kind="stable")[: len(rows) - counts.sum()]
        counts[extra] += 1
        behind[extra] -= 1
        parts[rows] = np.repeat(np.arange(len(shares)), counts)
    return parts


def _deal_groups(
    codes: npt.NDArray[np.intp], shares: npt.NDArray[np.float64], generator: np.random.Generator, groups: Rows
) -> Rows:
    sizes = np.bincount(groups)
    wanting = shares[:, None] * np.bincount(codes)[None, :]  # (P, C) rows that are still missing in each part
    held = np.zeros(wanting.shape, dtype=bool)
    given = np.zeros(len(shares))
    largest = _single_largest(shares)
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(sizes)[:-1])
    label_of_group = np.array([np.bincount(codes[rows]).argmax() for rows in members])
    order = generator.permutation(len(sizes))
    order = order[np.lexsort((-sizes[order], label_of_group[order]))]  # label by label, large groups first
    part_of_group = np.empty(len(sizes), dtype=np.int64)
    for group in order:
        labels, counts = np.unique(codes[members[group]], return_counts=True)
        lack = wanting[:, labels] @ counts / counts.sum()  # (P,)
        behind = shares * (given.sum() + sizes[group]) - given  # (P,) as _deal_rows counts it
        fits = np.all(wanting[:, labels] >= counts - 1e-9, axis=1)
        if fits.any():
            part = _best(np.asarray(fits), lack, behind)
        elif largest is not None and not held[largest, labels].any():
            part = largest
        else:
            part = _best(np.asarray(lack > 1e-9), behind, lack)
        part_of_group[group] = part
        wanting[part, labels] -= counts
        held[part, labels] = True
        given[part] += sizes[group]
    return part_of_group[groups]


def _best(allowed: npt.NDArray[np.bool_], first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> int:
    """The allowed part with the greatest first value; among equals the greatest second value, then the first part."""
    parts = np.flatnonzero(allowed)
    return int(parts[np.lexsort((-np.round(second[parts], 6), -np.round(first[parts], 6)))[0]])


def _single_largest(shares: npt.NDArray[np.float64]) -> int | None:
    """The part with the largest share, or none if several are equal."""
    first = int(shares.argmax())
    return first if np.isclose(shares, shares[first]).sum() == 1 else None
