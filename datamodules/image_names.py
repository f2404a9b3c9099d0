"""Finds the image that a table means: by its path, by the end of its path, or without the suffix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from lightning_vision.images.image_files import EXTENSIONS, HEIC_EXTENSIONS
from lightning_vision.terminal.wording import nfc, plural

Places = npt.NDArray[np.int64]
"""Positions among the images; ``NOWHERE`` or ``SEVERAL``."""
NOWHERE, SEVERAL = -1, -2
SUFFIXES = tuple(sorted(EXTENSIONS | HEIC_EXTENSIONS))


@dataclass
class Found:
    """Where the names of a table lead.

    Attributes:
        places: (N,) position of each name's image; ``NOWHERE``, or ``SEVERAL`` if more than one has that name.
        dropped: The beginning that all names share and that is no folder of the data; empty if nothing was dropped.
        other_suffix: How many names have another suffix than their image.
    """

    places: Places
    dropped: str = ""
    other_suffix: int = 0

    def remarks(self, table: str) -> list[str]:
        """What is said of the names of a table that is called so."""
        said = []
        if self.dropped:
            said.append(f"{table}: its paths begin with '{self.dropped}', which is left out.")
        if self.other_suffix:
            said.append(
                f"{table}: {plural(self.other_suffix, 'image')} have another suffix on the disk than in the table."
            )
        return said


@dataclass
class ImageNames:
    """The images below a folder, to be found by name.

    Attributes:
        paths: Their paths from the folder, with ``/``, as they are on the disk.
        root: The folder.
    """

    paths: Sequence[str]
    root: Path
    _tails: dict[tuple[int, bool], pd.Series[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._plain = composed(self.paths)

    def locate(self, names: pd.Series[str], folder: str = "") -> Found:
        """Find the image of each name.

        A name is a path from the folder of its table or from the root, an absolute path, a path that holds the root's own
        name, or the end of exactly one image's path; its suffix may be missing. If no name leads anywhere,
        the beginning that all share is dropped.

        Args:
            names: The names.
            folder: The folder of the table, by its path from the root.
        """
        asked = clean_names(names)
        places = np.full(len(asked), NOWHERE, dtype=np.int64)
        spellings = [(changed, True) for changed in self._spellings(asked, folder)] + [(asked, False)]
        for stem in (False, True):  # another suffix only where no image has the very name
            for changed, whole in spellings:
                left = np.flatnonzero(places == NOWHERE)
                if len(left) == 0:
                    break
                look = self._whole if whole else self._ends
                places[left] = look(changed.iloc[left], stem)
        dropped = ""
        if len(asked) and (places == NOWHERE).all():
            dropped, places = self._without_beginning(asked)
        found = np.flatnonzero(places >= 0)
        has_suffix = asked.iloc[found].str.lower().str.endswith(SUFFIXES).to_numpy(dtype=bool)
        suffixes = _suffixes(asked.iloc[found[has_suffix]])
        its = _suffixes([self._plain[place] for place in places[found[has_suffix]]])
        return Found(places, dropped, int((np.asarray(suffixes) != np.asarray(its)).sum()))

    def _spellings(self, asked: pd.Series[str], folder: str) -> Iterable[pd.Series[str]]:
        if folder:
            yield f"{folder}/" + asked
        yield asked
        absolute = asked.str.startswith("/")
        if absolute.any():
            for root in dict.fromkeys((self.root.absolute().as_posix(), self.root.resolve().as_posix())):
                start = nfc(root.rstrip("/") + "/")
                yield asked.str.removeprefix(start).where(asked.str.startswith(start), "")
        own = nfc(self.root.resolve().name) + "/"
        named = asked.str.startswith(own)
        if named.any():
            yield asked.str.removeprefix(own).where(named, "")
        inside = asked.str.contains(f"/{own}", regex=False)
        if inside.any():  # of the same folder on another machine
            yield asked.str.partition(f"/{own}")[2].where(inside, "")

    def _whole(self, asked: pd.Series[str], stem: bool) -> Places:
        """The images with exactly these paths."""
        return self._lookup(asked, 0, stem)

    def _ends(self, asked: pd.Series[str], stem: bool) -> Places:
        """The images whose paths end with these names, if it is one each."""
        places = np.full(len(asked), NOWHERE, dtype=np.int64)
        depth = asked.str.count("/").to_numpy() + 1
        for parts in np.unique(depth):
            rows = np.flatnonzero(depth == parts)
            places[rows] = self._lookup(asked.iloc[rows], int(parts), stem)
        return places

    def _lookup(self, asked: pd.Series[str], parts: int, stem: bool) -> Places:
        return _get(self._tail(parts, stem), _stems(asked) if stem else asked.tolist())

    def _tail(self, parts: int, stem: bool) -> pd.Series[int]:
        """The place of each image by the last parts of its path (0: by all of it)."""
        if (parts, stem) not in self._tails:
            names = self._plain if parts == 0 else [_last(path, parts) for path in self._plain]
            names = _stems(names) if stem else names
            places = pd.Series(np.arange(len(names)), index=pd.Index(names, dtype="object"))
            again = places.index.duplicated(keep="first")
            several = set(places.index[again])
            places = places[~again]
            if several:
                places[places.index.isin(several)] = SEVERAL
            self._tails[parts, stem] = places.drop("", errors="ignore")
        return self._tails[parts, stem]

    def _without_beginning(self, asked: pd.Series[str]) -> tuple[str, Places]:
        """The names without the folders that all begin with, as few as lead to an image."""
        first, last = (str(end).split("/")[:-1] for end in (asked.min(), asked.max()))
        shared = 0
        while shared < min(len(first), len(last)) and first[shared] == last[shared]:
            shared += 1
        for count in range(1, shared + 1):
            start = "/".join(first[:count]) + "/"
            rest = asked.str.removeprefix(start)
            places = self._ends(rest, stem=False)
            places = np.where(places == NOWHERE, self._ends(rest, stem=True), places)
            if (places >= 0).any():
                return start, places
        return "", np.full(len(asked), NOWHERE, dtype=np.int64)


def composed(texts: Sequence[str]) -> list[str]:
    """Texts in the composed Unicode form (NFC), in which equal names are equal."""
    return [nfc(text) for text in texts]


def clean_names(names: pd.Series[str]) -> pd.Series[str]:
    """Names with ``/`` between folders, composed, without ``./`` and blanks at their ends; ``file://`` and drives are left out."""
    asked = pd.Series(composed(names.tolist()), index=names.index, dtype="str").str.strip()
    if asked.str.contains("\\", regex=False).any():
        asked = asked.str.replace("\\", "/", regex=False)
    asked = asked.str.removeprefix("file://").str.replace(r"^(?:\./)+", "", regex=True)
    if asked.str.contains("//", regex=False).any():
        asked = asked.str.replace(r"/{2,}", "/", regex=True)
    return asked.str.replace(r"^[A-Za-z]:/", "/", regex=True)


def from_root(names: pd.Series[str], root: Path) -> pd.Series[str]:
    """Names of files as paths from a folder: without its absolute path, and without its own name if nothing is called so."""
    asked = names.str.replace("\\", "/", regex=False).str.removeprefix("./")
    for place in dict.fromkeys((root.absolute().as_posix(), root.resolve().as_posix())):
        asked = asked.str.removeprefix(place.rstrip("/") + "/")
    own = root.resolve().name + "/"
    if asked.str.startswith(own).any() and not (root / own).exists():
        asked = asked.str.removeprefix(own)
    return asked


def _get(places: pd.Series[int], asked: Sequence[str]) -> Places:
    at = places.index.get_indexer(pd.Index(list(asked), dtype="object"))
    values = places.to_numpy()
    return np.where(at < 0, NOWHERE, values[at] if len(values) else NOWHERE).astype(np.int64)


def _last(path: str, parts: int) -> str:
    """The last parts of a path; empty if it has fewer."""
    pieces = path.rsplit("/", parts)
    if len(pieces) < parts:
        return ""
    return path[len(pieces[0]) + 1 :] if len(pieces) > parts else path


def _stems(names: Iterable[str]) -> list[str]:
    """The names without the suffix of an image; others stay whole."""
    stems = []
    for name in names:
        stem, dot, suffix = name.rpartition(".")
        stems.append(stem if dot and f".{suffix.lower()}" in SUFFIXES else name)
    return stems


def _suffixes(names: Iterable[str]) -> list[str]:
    return [name.rpartition(".")[2].lower() for name in names]
