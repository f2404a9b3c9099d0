"""The sample table: one row a labelled picture, checked, split and identified by a hash.

It is a pandas DataFrame with a RangeIndex and the columns ``path`` (text, relative to the data's root with ``/``),
``label`` (int64, a position in the list of class names) and ``split`` (``"train"``, ``"val"``, ``"test"``, or ``""``
where it is not yet assigned). ``box_xyxy``, ``saliency``, ``frame``, ``group``, ``domain`` and any further columns are
optional. Rows of one ``group`` are near copies of each other: no cut ever parts them.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from lightning_vision.errors import ConfigError, DataError
from lightning_vision.wording import spelt

REQUIRED_COLUMNS = ("path", "label", "split")
FILE_COLUMNS = ("path", "saliency")
SPLITS = ("train", "val", "test")
SHOWN = 20
"""Problems that one error lists; the others are counted."""

Rows = npt.NDArray[np.int64]


def derive_seed(*words: int | str) -> int:
    """A 63-bit seed that is a pure function of the words, for instance ``(seed, "order", experience, epoch)``."""
    text = json.dumps([word if isinstance(word, str) else int(word) for word in words])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def natural_key(text: str) -> tuple[list[str | int], str]:
    """A sort key that reads digits as numbers and ignores case: ``img2`` comes before ``IMG10``."""
    parts: list[str | int] = [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text.casefold())]
    return parts, text


def plural(count: int, noun: str) -> str:
    """The count with its noun: ``1 row``, ``2 rows``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def listed(items: Iterable[object], limit: int = SHOWN) -> str:
    """The first items in quotes, and how many more there are."""
    texts = [f"'{item}'" for item in items]
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more


def row_keys(samples: pd.DataFrame) -> list[str]:
    """What tells one row from another, as text: its path and, where the columns are there, source, frame and box."""
    columns = [samples[name].map(str) for name in ("source", "path", "frame", "box_xyxy") if name in samples]
    return ["\t".join(values) for values in zip(*columns, strict=True)]


def check_samples(samples: pd.DataFrame, class_names: Sequence[str]) -> None:
    """Refuse a table that cannot be trained on.

    Raises:
        DataError: All problems at once: the first 20 and the count.
    """
    missing = [name for name in REQUIRED_COLUMNS if name not in samples]
    if missing:
        raise DataError(
            f"The sample table lacks the {plural(len(missing), 'column')} {listed(missing)}: "
            f"it needs 'path', 'label' and 'split', and has {listed(samples.columns)}."
        )
    if len(samples) == 0:
        raise DataError("The sample table has no rows: there are no pictures to learn from.")
    problems = [f"the class name {name!r} occurs twice" for name in _repeated(class_names)]
    problems += ["a class name is empty" for name in class_names if not name.strip()]
    if not samples.index.equals(pd.RangeIndex(len(samples))):
        problems.append("the index must count the rows from 0 (reset_index(drop=True) makes it so)")
    labels = samples["label"]
    if pd.api.types.is_integer_dtype(labels.dtype):
        problems += [
            f"row {row} ({path}) has label {label}; the {len(class_names)} classes have the labels 0 to "
            f"{len(class_names) - 1}"
            for row, path, label in _where(samples, ~labels.between(0, len(class_names) - 1), "label")
        ]
    else:
        problems.append(f"labels must be integers (int64), not {labels.dtype}")
    problems += [
        f"row {row} ({path}) has split {split!r}; it must be 'train', 'val', 'test' or ''"
        for row, path, split in _where(samples, ~samples["split"].isin([*SPLITS, ""]), "split")
    ]
    texts = samples["path"].map(lambda path: isinstance(path, str) and path != "").astype(bool)
    problems += [f"row {row} has the path {path!r}; a path is a text" for row, path, _ in _where(samples, ~texts)]
    keys = row_keys(samples)
    first = {key: row for row, key in reversed(list(enumerate(keys)))}
    problems += [
        f"row {row} ({path}) is the same picture as row {first[keys[row]]}"
        for row, path, _ in _where(samples, pd.Series(keys).duplicated())
    ]
    if problems:
        more = f"\n  ... and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise DataError(
            f"The sample table cannot be used ({plural(len(problems), 'problem')}):\n  "
            + "\n  ".join(problems[:SHOWN])
            + more
        )


def spell_names(samples: pd.DataFrame, class_names: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Class names and the texts of the table as they can be written anywhere: see ``wording.spelt``.

    Columns of files keep their bytes, for they open them. Two names that are spelt alike are refused by ``check_samples``.
    """
    for name in samples.columns.difference([*FILE_COLUMNS, "label", "split"]):
        if any(isinstance(value, str) and not value.isascii() for value in samples[name]):
            changed = [spelt(value) if isinstance(value, str) else value for value in samples[name]]
            samples = samples.assign(**{str(name): pd.Series(changed, index=samples.index, dtype=samples[name].dtype)})
    return samples, [spelt(name) for name in class_names]


def deal(
    labels: npt.ArrayLike,
    fractions: Sequence[float],
    seed_words: tuple[int | str, ...],
    groups: npt.ArrayLike | None = None,
) -> Rows:
    """Deal rows out to parts like cards: in the given shares, every label alike, by a generator of its own.

    Without groups each part is given the whole number of rows below or above its share of each label, and of all rows
    together. What is too little for every part goes to the largest first, so a single picture of a class is trained
    on. With groups, whole groups go to where they fit, large ones first, and else to the part that is most behind.

    Args:
        labels: (N,) integers to stratify by.
        fractions: The shares of the P parts; their sum is 1.
        seed_words: What the generator's seed is derived from.
        groups: (N,) anything that can be compared; a missing value is a group of its own.

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
    """Fill the ``split`` column: an official split stays, what is missing is cut from the training data.

    Args:
        samples: The checked table.
        class_names: One name a label.
        val_fraction: Share of the training data that becomes validation data, in [0, 1).
        test_fraction: Share of all data that becomes test data where there is no official test set, in [0, 1).
        seed: Alone moves the cuts; the test set does not depend on ``val_fraction``.
        stratify_by: (N,) a second value, beside the label, that every part should hold alike.

    Returns:
        A copy with ``split`` one of "train", "val", "test" in every row.
    """
    for name, value in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0 <= value < 1:
            raise ConfigError(f"{name} must be at least 0 and less than 1, not {value}.")
    split = samples["split"].replace("", "train").to_numpy(dtype=object, copy=True)
    if not (split == "train").any():
        raise DataError(
            f"There is no training data: all {plural(len(samples), 'picture')} are in {listed(sorted(set(split)))}."
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


def count_pictures(samples: pd.DataFrame, classes: int) -> npt.NDArray[np.intp]:
    """Pictures of each class in each part, (C, 3) in the order of ``SPLITS``; those of no part count nowhere."""
    labels, split = samples["label"].to_numpy(), samples["split"].to_numpy(dtype=object)
    return np.stack([np.bincount(labels[split == part], minlength=classes) for part in SPLITS], axis=1)


def split_hash(samples: pd.DataFrame) -> str:
    """A sha256 over path, label and split of every row, in order."""
    digest = hashlib.sha256()
    for key, label, split in zip(row_keys(samples), samples["label"], samples["split"], strict=True):
        digest.update(f"{key}\t{label}\t{split}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _where(samples: pd.DataFrame, wrong: "pd.Series[bool]", column: str = "path") -> list[tuple[int, object, object]]:
    """Row number, path and the column's value where a condition holds."""
    rows = np.flatnonzero(wrong.to_numpy())
    found = samples.iloc[rows]
    return list(zip(rows.tolist(), found["path"].tolist(), found[column].tolist(), strict=True))


def _deal_rows(codes: npt.NDArray[np.intp], shares: npt.NDArray[np.float64], generator: np.random.Generator) -> Rows:
    parts = np.empty(len(codes), dtype=np.int64)
    behind = np.zeros(len(shares))  # rows that each part is short of its share of all labels so far
    largest = _single_largest(shares)
    for code in range(codes.max(initial=-1) + 1):
        rows = generator.permutation(np.flatnonzero(codes == code))
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
    wanting = shares[:, None] * np.bincount(codes)[None, :]  # (P, C) rows that each part still lacks
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
    """The allowed part with the greatest first figure; among equals the greatest second, then the first part."""
    parts = np.flatnonzero(allowed)
    return int(parts[np.lexsort((-np.round(second[parts], 6), -np.round(first[parts], 6)))[0]])


def _single_largest(shares: npt.NDArray[np.float64]) -> int | None:
    """The one part with the largest share, or none if several are equal."""
    first = int(shares.argmax())
    return first if np.isclose(shares, shares[first]).sum() == 1 else None
