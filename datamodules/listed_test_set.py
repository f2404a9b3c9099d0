"""A list of the images that are the test set, for datasets whose split is published as a list of names."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from datamodules.documents import read_json, read_text, read_yaml
from datamodules.image_names import NOWHERE, SEVERAL, ImageNames
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.terminal.wording import listed, plural

OPTION = "data.test_list"
LABEL_BEHIND = re.compile(r"(\.\w{2,5})\s+\d+$")
"""A class number after the name of a file."""
FIRST_SHOWN = 5


def mark_test(
    samples: pd.DataFrame, given: str | Path, root: Path, split: object, problems: DataProblems
) -> pd.DataFrame:
    """The table in which the listed images are the test set, and all others training data.

    Args:
        samples: The table.
        given: The list, relative to the working directory or the root.
        root: The folder of the data.
        split: The option ``data.split``.
        problems: Where problems go.

    Raises:
        DataError: The list is missing or names no images, or the data has a split already.
        ConfigError: ``data.split`` asks for another split.
    """
    if split != "official":
        raise ConfigError(f"{OPTION} and data.split={split} both divide the data. Use one of them.")
    if samples["split"].ne("").any():
        raise DataError(
            f"{OPTION}: the images of {root} are divided already, by folders or by a column split. Remove one of the two."
        )
    places = [Path(given).expanduser(), root / given]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise DataError(f"{OPTION}: there is no file; searched {listed(places)}.")
    names = pd.Series(_names(file), dtype="str")
    found = ImageNames(samples["path"].tolist(), root).locate(names)
    for code, words in ((NOWHERE, "not found"), (SEVERAL, "of the name of several images")):
        wrong = names[found.places == code].tolist()
        if wrong:
            problems.problem(
                f"{file}: {len(wrong)} of {plural(len(names), 'name')} {words}, such as {listed(wrong, FIRST_SHOWN)}; images "
                f"below {root} are called {listed(samples['path'].iloc[:2])}"
            )
    marked = np.unique(found.places[found.places >= 0])
    if len(marked) == len(samples):
        raise DataError(f"{OPTION}: {file} names all {len(samples)} images; none is left to learn from.")
    parts = np.full(len(samples), "train", dtype=object)
    parts[marked] = "test"
    return samples.assign(split=pd.Series(parts, dtype="str"))


def _names(file: Path) -> list[str]:
    """The names in a list: a text with one a line, or YAML or JSON with a list, alone or under ``data``."""
    if file.suffix.lower() in (".yaml", ".yml", ".json"):
        document = read_json(file) if file.suffix.lower() == ".json" else read_yaml(file)
        names = document.get("data") if isinstance(document, dict) else document
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{OPTION}: {file} must hold a list of names, alone or under the key 'data'.")
    else:
        lines = (line.strip() for line in read_text(file).split("\n"))
        names = [LABEL_BEHIND.sub(r"\1", line) for line in lines if line and not line.startswith("#")]
    if not names:
        raise DataError(f"{OPTION}: {file} is empty. Expected the name of an image on each line.")
    return names
