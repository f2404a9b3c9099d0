"""Paths in a table, as people write them, to paths below the data's root."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from lightning_vision.terminal.wording import nfc


def paths_below(paths: pd.Series[str], root: Path, images: Collection[str]) -> pd.Series[str]:
    """The paths of a column as the data has them, where they mean one of its images.

    Absolute paths, paths that begin with the root's own name, backslashes and both Unicode spellings of a name are
    understood. Other paths stay as they are.

    Args:
        paths: The column.
        root: The folder that they start from.
        images: The known paths, with ``/``.
    """
    if all(path in images for path in paths):
        return paths
    known = {nfc(path): path for path in images}
    names = {nfc(root.absolute().name), nfc(root.resolve().name)}

    def below(path: str) -> str:
        plain = path.replace("\\", "/").removeprefix("./")
        parts = nfc(plain).split("/")
        starts = [0, *(at + 1 for at, part in enumerate(parts) if part in names)]
        inner = ("/".join(parts[start:]) for start in starts)
        return next((known[each] for each in inner if each in known), plain)

    return paths.map(below)
