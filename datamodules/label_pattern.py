"""Labels in the names of files, by a regular expression."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from datamodules.folder_names import SPLIT_VALUES
from datamodules.image_names import ImageNames, composed
from datamodules.label_rows import LabelRows
from datamodules.label_table import typed
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.terminal.wording import listed, plural


def read_pattern(pattern: str, images: ImageNames, problems: DataProblems) -> LabelRows:
    """The labels that a regular expression finds in names; a row for each image.

    Args:
        pattern: It is searched for in the name of each file, or in its path from the root if it has a ``/``. Its group
            ``label`` is the label; ``split``, ``group``, ``domain`` and any other named groups become columns.
        images: The images.
        problems: Where images go that do not match.

    Raises:
        ConfigError: The pattern cannot be used.
        DataError: No image matches it.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"data.label_pattern: {pattern!r} is not a regular expression: {error}.") from error
    if "label" not in compiled.groupindex:
        raise ConfigError(f"data.label_pattern: {pattern!r} has no group called label, such as (?P<label>[a-z]+)_\\d+.")
    searched = [path if "/" in pattern else path.rpartition("/")[2] for path in composed(images.paths)]
    found = [match.groupdict() if (match := compiled.search(text)) else None for text in searched]
    matched = [row for row in found if row is not None]
    if not matched:
        raise DataError(
            f"data.label_pattern: none of the {plural(len(searched), 'image')} below {images.root} matches {pattern!r}; "
            f"they are called {listed(searched[:3])}."
        )
    for path, row in zip(images.paths, found, strict=True):
        if row is None:
            problems.bad(path, "its name does not match data.label_pattern")
    places = [place for place, row in enumerate(found) if row is not None]
    table = pd.DataFrame(matched)
    rows = pd.DataFrame({"name": pd.Series([images.paths[place] for place in places], dtype="str")})
    label = table.pop("label").astype("str").str.strip()
    rows["label"] = label.where(label != "")
    rows["file"] = pd.Series("data.label_pattern", index=rows.index, dtype="category")
    rows["number"] = places
    if "split" in table:
        split = table.pop("split").fillna("").str.lower()
        if len(wrong := sorted(set(split) - SPLIT_VALUES.keys())):
            raise DataError(
                f"data.label_pattern: its group split found {listed(wrong, 5)}, expected train, val or test."
            )
        rows["split"] = split.map(SPLIT_VALUES).astype("str")
    for name in table:
        rows[str(name)] = typed(table[name])
    return LabelRows(rows, "pattern", "image", Path("data.label_pattern"))
