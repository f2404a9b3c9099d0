"""The option ``data.split``: how a sample table is divided into training, validation and test data."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lightning_vision.array_types import Rows
from lightning_vision.data.stratified_split import deal, split_samples
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.terminal.wording import listed, plural

FORMS = (
    "official; ratio, 70/30 or 70/15/15 (training, validation, test); {ratio: [0.7, 0.15, 0.15]}; "
    "{folds: 5, fold: 0}; {base: part, increments: part, test: part} with the data's own parts"
)
ROLES = ("base", "increments", "train", "val", "test")


@dataclass(frozen=True)
class Official:
    """The data's own split; missing parts are cut from its training data."""

    def describe(self) -> Any:
        """As a configuration names it."""
        return "official"


@dataclass(frozen=True)
class Ratio:
    """A new split of all data, stratified by class and, if there are groups, by group.

    Args:
        train: Share of the training data, including validation if ``val`` is None.
        val: Share of the validation data; None: ``val_fraction`` of the training data.
        test: Share of the test data.
    """

    train: float
    val: float | None
    test: float

    def describe(self) -> Any:
        """As a configuration names it."""
        return {"ratio": [self.train, self.test] if self.val is None else [self.train, self.val, self.test]}


@dataclass(frozen=True)
class Folds:
    """Cross-validation: one of ``folds`` equal parts is the test set, the others are trained on."""

    folds: int
    fold: int

    def describe(self) -> Any:
        """As a configuration names it."""
        return {"folds": self.folds, "fold": self.fold}


@dataclass(frozen=True)
class Parts:
    """The data's own parts by name (the column ``part``), each with a role."""

    roles: Mapping[str, tuple[str, ...]]
    """The names of the parts of each role (base, increments, train, val, test)."""

    def describe(self) -> Any:
        """As a configuration names it."""
        return {role: names[0] if len(names) == 1 else list(names) for role, names in self.roles.items()}


Split = Official | Ratio | Folds | Parts


def read_split(asked: str | Mapping[str, Any], test_fraction: float) -> Split:
    """Parse the option ``data.split``.

    Args:
        asked: One of ``FORMS``.
        test_fraction: Share of the test data if ``ratio`` names none.

    Raises:
        ConfigError: It is none of them.
    """
    if isinstance(asked, str):
        word = asked.strip().lower()
        if word == "official":
            return Official()
        if word == "ratio":
            return Ratio(1 - test_fraction, None, test_fraction)
        if re.fullmatch(r"\d+(\.\d+)?(/\d+(\.\d+)?){1,2}", word):
            return _ratio([float(share) for share in word.split("/")], asked)
        raise ConfigError(f"data.split: expected {FORMS}; found {asked!r}.")
    options = {str(key): value for key, value in asked.items()}
    if set(options) == {"ratio"}:
        shares = options["ratio"]
        if isinstance(shares, str):
            return read_split(shares, test_fraction)
        if not isinstance(shares, Sequence) or not all(isinstance(share, int | float) for share in shares):
            raise ConfigError(f"data.split: ratio is two or three numbers, found {shares!r}.")
        return _ratio([float(share) for share in shares], asked)
    if "folds" in options and set(options) <= {"folds", "fold"}:
        folds, fold = options["folds"], options.get("fold", 0)
        if not (isinstance(folds, int) and isinstance(fold, int) and folds >= 2 and 0 <= fold < folds):
            raise ConfigError(
                f"data.split: folds is a number from 2 on and fold one from 0 to folds - 1, found {asked!r}."
            )
        return Folds(folds, fold)
    if options and set(options) <= set(ROLES):
        roles = {role: _names(options[role]) for role in ROLES if options.get(role) is not None}
        if ("base" in roles or "increments" in roles) == ("train" in roles):
            raise ConfigError(f"data.split: name base and increments, or train; found {asked!r}.")
        if "base" not in roles and "train" not in roles:
            raise ConfigError(f"data.split: increments need a base, found {asked!r}.")
        every = [name for names in roles.values() for name in names]
        if repeated := sorted({name for name in every if every.count(name) > 1}):
            raise ConfigError(f"data.split: {listed(repeated)} cannot have two roles.")
        return Parts(roles)
    raise ConfigError(f"data.split: expected {FORMS}; found {asked!r}.")


def _ratio(shares: list[float], asked: object) -> Ratio:
    total = sum(shares)
    if (
        len(shares) not in (2, 3)
        or min(shares, default=0) < 0
        or not (abs(total - 1) < 1e-6 or abs(total - 100) < 1e-6)
    ):
        raise ConfigError(
            f"data.split: the shares of a ratio are two (training, test) or three (training, validation, test), and sum "
            f"to 1 or 100; found {asked!r}."
        )
    if shares[0] == 0:
        raise ConfigError(
            f"data.split: the first share of a ratio is the training data's and above 0, found {asked!r}."
        )
    train, *val, test = [share / total for share in shares]
    return Ratio(train, val[0] if val else None, test)


def _names(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(str(name) for name in value)


def apply_split(
    split: Split,
    samples: pd.DataFrame,
    class_names: Sequence[str],
    val_fraction: float,
    test_fraction: float,
    seed: int,
    stratify_by: "pd.Series | None" = None,
) -> tuple[pd.DataFrame, Rows]:
    """Fill the ``split`` column.

    Args:
        split: The parsed option.
        samples: The checked table.
        class_names: One name for each label.
        val_fraction: Share of the training data that becomes validation data if there is none.
        test_fraction: Share of all data that becomes test data, for ``Official`` if there is none.
        seed: The only seed of the split.
        stratify_by: A second value, beside the label, by which the split is stratified.

    Returns:
        The table with ``split`` filled, and the rows of the given one that it keeps: parts without a role are left out.
        With ``base`` and ``increments`` it also has the column ``role``.

    Raises:
        ConfigError: The data has no such parts.
    """
    everything = np.arange(len(samples), dtype=np.int64)
    if isinstance(split, Official):
        return split_samples(samples, class_names, val_fraction, test_fraction, seed, stratify_by), everything
    if isinstance(split, Parts):
        chosen, rows = _choose_parts(split, samples)
        kept = None if stratify_by is None else stratify_by.iloc[rows].reset_index(drop=True)
        if "role" in chosen:  # validation data is cut from the base and from the increments separately
            kept = chosen["role"].where(chosen["role"] == "base", "increments") if kept is None else kept
        return split_samples(chosen, class_names, val_fraction, 0.0, seed, kept), rows
    strata = samples["label"].to_numpy()
    if stratify_by is not None:
        strata = strata * (stratify_by.nunique() + 1) + pd.factorize(stratify_by)[0]
    groups = samples["group"].to_numpy() if "group" in samples else None
    if isinstance(split, Folds):
        dealt = deal(strata, [1 / split.folds] * split.folds, (seed, "folds", split.folds), groups)
        parts = np.where(dealt == split.fold, "test", "train")
    elif split.val is None:
        return (
            split_samples(samples.assign(split=""), class_names, val_fraction, split.test, seed, stratify_by),
            everything,
        )
    else:
        shares = [split.train, split.val, split.test]
        parts = np.array(["train", "val", "test"])[deal(strata, shares, (seed, "ratio"), groups)]
    return (
        split_samples(
            samples.assign(split=pd.Series(parts, dtype="str")),
            class_names,
            val_fraction if isinstance(split, Folds) else 0.0,
            0.0,
            seed,
            stratify_by,
        ),
        everything,
    )


def _choose_parts(split: Parts, samples: pd.DataFrame) -> tuple[pd.DataFrame, Rows]:
    if "part" not in samples:
        raise ConfigError(
            f"data.split: this data has no parts of its own, so {split.describe()!r} cannot be followed. Use {FORMS}."
        )
    known = [str(name) for name in samples["part"].unique()]
    asked = [name for names in split.roles.values() for name in names]
    if unknown := [name for name in asked if name not in known]:
        raise ConfigError(f"data.split: the data has no part {listed(unknown)}; it has {listed(known)}.")
    role_of = {name: role for role, names in split.roles.items() for name in names}
    roles = samples["part"].map(role_of)
    rows = np.flatnonzero(roles.notna().to_numpy())
    if len(rows) == 0:
        raise DataError(f"data.split: the parts {listed(asked)} hold no image.")
    chosen = samples.iloc[rows].reset_index(drop=True)
    roles = roles.iloc[rows].reset_index(drop=True)
    parts = roles.replace({"base": "train", "increments": "train"})
    chosen = chosen.assign(split=parts.astype("str"))
    return (chosen.assign(role=roles.astype("str")) if "base" in split.roles else chosen), rows


def left_out(samples: pd.DataFrame, rows: Rows) -> str:
    """A sentence about the parts without a role; empty if there are none."""
    gone = samples[~samples.index.isin(rows)]
    if gone.empty:
        return ""
    return f"data.split leaves out {plural(len(gone), 'image')} of {listed(sorted(gone['part'].unique()))}."
