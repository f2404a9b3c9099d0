"""Splits samples by class, keeping groups whole."""

from __future__ import annotations

from collections.abc import Sequence

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
    group_codes = pd.factorize(pd.Series(groups), use_na_sentinel=True)[0].astype(np.int64)
    alone = group_codes < 0
    group_codes[alone] = group_codes.max(initial=-1) + 1 + np.arange(alone.sum())
    return _deal_groups(codes, shares, generator, group_codes)


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
        dealt = deal(strata[rows], [1 - fraction, fraction], (seed, part), None if groups is None else groups[rows])
        split[rows[dealt == 1]] = part
    return samples.assign(split=pd.Series(split, dtype="str"))


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
