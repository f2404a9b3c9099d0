"""The sample table: one row for each labelled image, checked, split and identified by a hash.

It is a pandas DataFrame with a RangeIndex and the columns ``path`` (text, relative to the data's root with ``/``),
``label`` (int64, a position in the list of class names) and ``split`` (``"train"``, ``"val"``, ``"test"``, or ``""``
if it is not yet assigned). ``box_xyxy``, ``saliency``, ``frame``, ``group``, ``domain`` and any further columns are
optional. Rows of one ``group`` are near copies of each other: they are never split.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import in_lines, listed, nfc, plural, spelt

REQUIRED_COLUMNS = ("path", "label", "split")
FILE_COLUMNS = ("path", "saliency")
SPLITS = ("train", "val", "test")


def row_keys(samples: pd.DataFrame) -> list[str]:
    """A key for each row, as text: its path and, if the columns exist, source, frame and box."""
    columns = [samples[name].tolist() for name in ("source", "path", "frame", "box_xyxy") if name in samples]
    texts = [list(map(str, column)) for column in columns]
    return texts[0] if len(texts) == 1 else ["\t".join(values) for values in zip(*texts, strict=True)]


def check_samples(samples: pd.DataFrame, class_names: Sequence[str]) -> None:
    """Refuse a table that cannot be used for training.

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
        raise DataError("The sample table has no rows: there are no images to learn from.")
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
    texts = pd.Series([isinstance(path, str) and path != "" for path in samples["path"].tolist()], dtype=bool)
    problems += [f"row {row} has the path {path!r}; a path is a text" for row, path, _ in _where(samples, ~texts)]
    problems += [
        f"row {row} ({samples['path'].iloc[row]}) is the same image as row {first}" for row, first in _copies(samples)
    ]
    if problems:
        raise DataError(f"The sample table cannot be used ({plural(len(problems), 'problem')}):\n{in_lines(problems)}")


def _copies(samples: pd.DataFrame) -> list[tuple[int, int]]:
    """The rows that name the image of an earlier row, and the first row that does."""
    if not samples["path"].duplicated().any():
        return []
    codes, _ = pd.factorize(pd.Series(row_keys(samples), dtype=object))
    first = np.unique(codes, return_index=True)[1][codes]
    return [(row, int(first[row])) for row in np.flatnonzero(first != np.arange(len(first))).tolist()]


def names_of_files(names: Iterable[str]) -> "pd.Series[str]":
    """A column of names of files as Python's texts: Arrow's, which pandas prefers, cannot hold a name that is no UTF-8."""
    return pd.Series(list(names), dtype=object)


def spell_names(samples: pd.DataFrame, class_names: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Class names and the texts of the table in one spelling that can be written anywhere: ``wording.spelt`` and ``nfc``.

    Columns of files keep their bytes, which open the files. ``check_samples`` refuses two names with the same spelling.
    """
    for name in samples.columns.difference([*FILE_COLUMNS, "label", "split"]):
        if any(isinstance(value, str) and not value.isascii() for value in samples[name].tolist()):
            changed = [nfc(spelt(value)) if isinstance(value, str) else value for value in samples[name]]
            samples = samples.assign(**{str(name): pd.Series(changed, index=samples.index, dtype=samples[name].dtype)})
    return samples, [nfc(spelt(name)) for name in class_names]


def count_images(samples: pd.DataFrame, classes: int) -> npt.NDArray[np.intp]:
    """Images of each class in each part, (C, 3) in the order of ``SPLITS``; images of no part are not counted."""
    labels, split = samples["label"].to_numpy(), samples["split"].to_numpy(dtype=object)
    return np.stack([np.bincount(labels[split == part], minlength=classes) for part in SPLITS], axis=1)


def split_hash(samples: pd.DataFrame) -> str:
    """A SHA-256 over path, label and split of every row, in order."""
    rows = zip(row_keys(samples), samples["label"].tolist(), samples["split"].tolist(), strict=True)
    text = "".join([f"{key}\t{label}\t{split}\n" for key, label, split in rows])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _where(samples: pd.DataFrame, wrong: "pd.Series[bool]", column: str = "path") -> list[tuple[int, object, object]]:
    """Row number, path and the column's value of the rows that meet a condition."""
    rows = np.flatnonzero(wrong.to_numpy())
    found = samples.iloc[rows]
    return list(zip(rows.tolist(), found["path"].tolist(), found[column].tolist(), strict=True))
